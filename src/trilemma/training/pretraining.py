"""Start values from synthetic images: contrastive pre-training that no private image takes part in.

Two altered copies of one synthetic image should look alike to the network, and copies of others should not: SimCLR's
loss (Chen et al. 2020) on dead leaves, in the place of photographs.  (That private training does well from such start
values: Tang et al. 2023, DP-RandP.)  Only the trunk is kept.  It is a function of the recipe's network, ``prior_seed``
and ``pretrain_updates`` alone, so it costs no budget, and trials of other seeds and budgets share it.
"""

from __future__ import annotations

import time
from dataclasses import astuple
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.data.cache import cache_folder
from trilemma.data.dataset import Dataset
from trilemma.data.views import normalize
from trilemma.errors import InputError
from trilemma.models.prior.store import key_of
from trilemma.models.prior.synthetic import alter, synthetic_images
from trilemma.progress import Progress
from trilemma.seeds import generator_for
from trilemma.training import checkpoints
from trilemma.training.checkpoints import Checkpoint
from trilemma.training.network import Architecture
from trilemma.training.recipe import Recipe

FORMAT = 1
HEAD = "head."
"""Names of parameters that are not pre-trained begin with this."""

_IMAGES = 20_000
_BATCH = 256
_TEMPERATURE = 0.2
_EMBEDDING = 128
_SAVE_SECONDS = 60.0


def pretrained(
    recipe: Recipe,
    data: Dataset,
    network: nn.Module,
    device: torch.device,
    *,
    autocast: torch.dtype | None = None,
    progress: Progress = lambda *_: None,
    folder: Path | None = None,
) -> dict[str, Tensor]:
    """The trunk's pre-trained state, from the cache or computed now; goes on where an earlier call was interrupted.

    Args:
      recipe: ``prior_seed`` and ``pretrain_updates`` count, and what names the network.
      data: for the shape of its images and what they are normalised by; no image is looked at.
      network: the recipe's network; its trunk's values are taken as the start and its ``head`` is not changed.
      device, autocast: to compute on, in what type.
      progress: told how far it is; what it raises interrupts.
      folder: of the cache; the user's own if None.

    Returns:
      Tensors by name, without the head's.

    Raises:
      InputError: no room to keep it.
    """
    store = (folder or cache_folder() / "pretrained") / cache_key(recipe, data, device, autocast)
    saved, _ = checkpoints.load(store)
    if saved is None or saved.header["update"] < recipe.pretrain_updates:
        saved = _train(recipe, data, network, device, autocast, progress, store, saved)
    return {name.removeprefix("trunk/"): value for name, value in saved.tensors.items() if name.startswith("trunk/")}


def cache_key(recipe: Recipe, data: Dataset, device: torch.device, autocast: torch.dtype | None) -> str:
    """Names what pre-training makes of a recipe: trainings whose key is equal start from the same backbone."""
    settings = [*astuple(Architecture.of(recipe)), recipe.pretrain, recipe.pretrain_updates, _IMAGES, _BATCH]
    settings += [autocast, device.type, data.mean, data.deviation]
    return key_of(f"trilemma pretraining {FORMAT}", (), data.image_shape, recipe.prior_seed, *settings)


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """The normalised temperature-scaled cross-entropy of pairs: float (n, d) twice -> scalar."""
    rows = F.normalize(torch.cat([first, second]).float(), dim=1)
    alike = rows @ rows.T / _TEMPERATURE
    alike = alike.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf)
    count = len(first)
    partner = torch.cat([torch.arange(count, 2 * count), torch.arange(count)]).to(rows.device)
    return F.cross_entropy(alike, partner)


def _train(
    recipe: Recipe,
    data: Dataset,
    network: nn.Module,
    device: torch.device,
    autocast: torch.dtype | None,
    progress: Progress,
    store: Path,
    saved: Checkpoint | None,
) -> Checkpoint:
    head = getattr(network, "head", None)
    if not isinstance(head, nn.Linear):
        raise InputError(f"{recipe.model} has no linear head to pre-train without: leave --pretrain out")
    updates = recipe.pretrain_updates
    progress("drawing synthetic images", 0, updates)
    images = synthetic_images(_IMAGES, data.image_shape, recipe.prior_seed)
    generator = generator_for(recipe.prior_seed, "pre-training")
    width = head.in_features
    with torch.random.fork_rng():
        torch.manual_seed(recipe.prior_seed)
        projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _EMBEDDING)).to(device)
    network.head = projection
    network.train()
    parameters = dict(network.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-3, foreach=False)
    update = 0

    def state() -> Checkpoint:
        tensors = {f"trunk/{n}": v for n, v in network.state_dict().items() if not n.startswith(HEAD)}
        if update < updates:
            tensors |= {f"projection/{n}": v for n, v in projection.state_dict().items()}
            for name, p in parameters.items():
                moments = optimizer.state[p]
                tensors |= {f"first/{name}": moments["exp_avg"], f"second/{name}": moments["exp_avg_sq"]}
            tensors["generator"] = generator.get_state()
        return Checkpoint(tensors, {"update": update})

    try:
        if saved is not None:
            held, update = saved.tensors, int(saved.header["update"])
            trunk = {n.removeprefix("trunk/"): v for n, v in held.items() if n.startswith("trunk/")}
            network.load_state_dict(trunk, strict=False)
            projection.load_state_dict(
                {n.removeprefix("projection/"): v for n, v in held.items() if n.startswith("projection/")}
            )
            for name, p in parameters.items():
                moments = {"exp_avg": held[f"first/{name}"].to(device), "exp_avg_sq": held[f"second/{name}"].to(device)}
                optimizer.state[p] = {"step": torch.tensor(float(update)), **moments}
            generator.set_state(held["generator"])
        store.mkdir(parents=True, exist_ok=True)
        last = time.monotonic()
        while update < updates:
            rows = torch.randint(0, len(images), (_BATCH,), generator=generator)
            pair = torch.cat([alter(images[rows], generator) for _ in range(2)])
            flip = torch.rand(len(pair), generator=generator) < 0.5
            pair = torch.where(flip[:, None, None, None], pair.flip(3), pair)
            with torch.autocast(device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
                embedded = network(normalize(pair.to(device), data.mean, data.deviation))
            loss = contrastive_loss(*embedded.chunk(2))
            optimizer.param_groups[0]["lr"] = 1e-3 * min(1.0, (update + 1) / 100) * (1 - update / updates)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update += 1
            if update == updates or time.monotonic() - last > _SAVE_SECONDS:
                checkpoints.save(store, state())
                last = time.monotonic()
            progress("pre-training on synthetic images", update, updates)
    except OSError as error:
        raise InputError(
            f"cannot keep the pre-trained network in {store}: {error.strerror or error}; set TRILEMMA_CACHE"
        ) from error
    except BaseException:
        if 0 < update < updates:  # asked to stop: nothing is lost
            checkpoints.save(store, state())
        raise
    finally:
        network.head = head
        for p in network.parameters():
            p.grad = None
    return state()
