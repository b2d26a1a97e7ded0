"""Initial weights from synthetic images: contrastive pre-training that uses no private image.

Two altered copies of one synthetic image should look alike to the network, and copies of others should not: SimCLR's
loss (Chen et al. 2020), on dead-leaves images in place of photographs.  (That private training does well from such
initial weights: Tang et al. 2023, DP-RandP.)  Only the backbone is kept.  It is a function of the recipe's
network, ``prior_seed`` and ``pretrain_updates`` alone, so it costs no budget, and trials with other seeds and
budgets share it.
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
from trilemma.files import alone_in
from trilemma.models.prior.store import key_of
from trilemma.models.prior.synthetic import alter, synthetic_images
from trilemma.outside import modules_behind, source_digests
from trilemma.privacy.randomness import tensors_digest
from trilemma.progress import Progress
from trilemma.seeds import generator_for
from trilemma.training import checkpoints
from trilemma.training.checkpoints import Checkpoint
from trilemma.training.network import Architecture
from trilemma.training.recipe import Recipe

FORMAT = 2
HEAD = "head."
"""The prefix of the names of parameters that are not pre-trained."""

_IMAGES = 20_000
_BATCH = 256
_TEMPERATURE = 0.2
_EMBEDDING = 128
_SAVE_SECONDS = 60.0
_RATE = 1e-3


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
    """The pre-trained state of the backbone, from the cache or computed now, resuming a call that was interrupted.  Of
    several processes that need the same one, one computes it, and the others wait.

    Args:
      recipe: its ``prior_seed``, ``pretrain_updates`` and architecture are used.
      data: for the shape of the images and their normalization; no image is looked at.
      network: the recipe's network; the weights of its backbone are the initial weights, and its ``head`` is not
        changed.
      device, autocast: the device to compute on, and the compute type.
      progress: called with the progress; an exception that it raises interrupts.
      folder: the folder of the cache; None: the user's cache folder.

    Returns:
      Tensors by name, without those of the head.

    Raises:
      InputError: the cache cannot be written.
    """
    store = (folder or cache_folder() / "pretrained") / cache_key(recipe, data, network, device, autocast)
    saved, _ = checkpoints.load(store)
    if saved is None or saved.header["update"] < recipe.pretrain_updates:
        try:
            store.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_kept(store, error) from error
        with alone_in(store, waiting=lambda: progress("waiting for another process that pre-trains this", 0, 0)):
            saved, _ = checkpoints.load(store)  # that other process may have finished, or got some way
            if saved is None or saved.header["update"] < recipe.pretrain_updates:
                saved = _train(recipe, data, network, device, autocast, progress, store, saved)
    return _part(saved, "backbone")


def cache_key(
    recipe: Recipe, data: Dataset, network: nn.Module, device: torch.device, autocast: torch.dtype | None
) -> str:
    """Names the result of pre-training for a recipe and network: trainings with equal keys start from the same
    backbone."""
    settings = [*astuple(Architecture.of(recipe)), recipe.pretrain, recipe.pretrain_updates, _IMAGES, _BATCH]
    settings += [autocast, device.type, data.mean, data.std, *_backbone(network, recipe.model)]
    return key_of(f"trilemma pretraining {FORMAT}", (), data.image_shape, recipe.prior_seed, *settings)


def _backbone(network: nn.Module, model: str) -> list[object]:
    """What tells backbones apart that have one name: initial weights, layers, and the code that comes from outside."""
    layers = [(name, module) for name, module in network.named_modules() if name and not f"{name}.".startswith(HEAD)]
    modules = {type(module).__module__ for module in network.modules()} | modules_behind(model, "models")
    return [
        tensors_digest({name: v for name, v in network.state_dict().items() if not name.startswith(HEAD)}),
        _full_name(type(network)),
        [(name, _full_name(type(module)), module.extra_repr()) for name, module in layers],
        source_digests(modules),
    ]


def _full_name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """The normalized temperature-scaled cross-entropy of pairs: float (n, d) twice -> scalar."""
    rows = F.normalize(torch.cat([first, second]).float(), dim=1)
    alike = rows @ rows.T / _TEMPERATURE
    alike = alike.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf)
    count = len(first)
    partner = torch.cat([torch.arange(count, 2 * count), torch.arange(count)]).to(rows.device)
    return F.cross_entropy(alike, partner)


class _PreTraining:
    """A network in pre-training, its head replaced by a projection; ``update`` counts the updates made."""

    def __init__(self, recipe: Recipe, network: nn.Module, head: nn.Linear, device: torch.device) -> None:
        self.network, self.device, self.updates, self.update = network, device, recipe.pretrain_updates, 0
        self.generator = generator_for(recipe.prior_seed, "pre-training")
        width = head.in_features
        with torch.random.fork_rng():
            torch.manual_seed(recipe.prior_seed)
            projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _EMBEDDING))
        self.projection = network.head = projection.to(device)
        network.train()
        self.parameters = dict(network.named_parameters())
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=_RATE, foreach=False)

    def to_checkpoint(self) -> Checkpoint:
        """At the end, the backbone alone; before that, everything needed to resume."""
        tensors = {f"backbone/{n}": v for n, v in self.network.state_dict().items() if not n.startswith(HEAD)}
        if self.update < self.updates:
            tensors |= {f"projection/{n}": v for n, v in self.projection.state_dict().items()}
            for name, p in self.parameters.items():
                moments = self.optimizer.state[p]
                tensors |= {f"first/{name}": moments["exp_avg"], f"second/{name}": moments["exp_avg_sq"]}
            tensors["generator"] = self.generator.get_state()
        return Checkpoint(tensors, {"update": self.update})

    def restore(self, saved: Checkpoint) -> None:
        self.update = int(saved.header["update"])
        self.network.load_state_dict(_part(saved, "backbone"), strict=False)
        self.projection.load_state_dict(_part(saved, "projection"))
        first, second = _part(saved, "first"), _part(saved, "second")
        for name, p in self.parameters.items():
            moments = {"exp_avg": first[name].to(self.device), "exp_avg_sq": second[name].to(self.device)}
            self.optimizer.state[p] = {"step": torch.tensor(float(self.update)), **moments}
        self.generator.set_state(saved.tensors["generator"])

    def step(self, images: Tensor, data: Dataset, autocast: torch.dtype | None) -> None:
        rows = torch.randint(0, len(images), (_BATCH,), generator=self.generator)
        pair = torch.cat([alter(images[rows], self.generator) for _ in range(2)])
        flip = torch.rand(len(pair), generator=self.generator) < 0.5
        pair = torch.where(flip[:, None, None, None], pair.flip(3), pair)
        with torch.autocast(self.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            embedded = self.network(normalize(pair.to(self.device), data.mean, data.std))
        loss = contrastive_loss(*embedded.chunk(2))
        rate = _RATE * min(1.0, (self.update + 1) / 100) * (1 - self.update / self.updates)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.update += 1


def _part(saved: Checkpoint, part: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{part}/"): v for n, v in saved.tensors.items() if n.startswith(f"{part}/")}


def _not_kept(store: Path, error: OSError) -> InputError:
    return InputError(f"cannot keep the pre-trained network in {store}: {error.strerror or error}; set TRILEMMA_CACHE")


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
    progress("drawing synthetic images", 0, recipe.pretrain_updates)
    images = synthetic_images(_IMAGES, data.image_shape, recipe.prior_seed)
    run = _PreTraining(recipe, network, head, device)
    try:
        if saved is not None:
            run.restore(saved)
        last = time.monotonic()
        while run.update < run.updates:
            run.step(images, data, autocast)
            if run.update == run.updates or time.monotonic() - last > _SAVE_SECONDS:
                checkpoints.save(store, run.to_checkpoint())
                last = time.monotonic()
            progress("pre-training on synthetic images", run.update, run.updates)
    except OSError as error:
        raise _not_kept(store, error) from error
    except BaseException:
        if 0 < run.update < run.updates:  # asked to stop: nothing is lost
            checkpoints.save(store, run.to_checkpoint())
        raise
    finally:
        network.head = head
        for p in network.parameters():
            p.grad = None
    return run.to_checkpoint()
