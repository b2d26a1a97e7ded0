"""Whole trainings with the mechanism frozen: draws and outputs of ``privatize`` are fixed in advance.

What a private training releases must be a function of those outputs and of what is public.  So a training is replayed
on other data with the same outputs: on a neighbor every clipped sum must be within C of the first one's, on data of
which only examples differ that were never drawn every clipped sum must be the same, and on unrelated images and labels
nothing that is released may differ.  (The idea is that of dp-recorder.)

Run as a script it replays a training of two processes, one of which it is.
"""

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

import trilemma as tl
from trilemma.data.dataset import Dataset, Split
from trilemma.privacy import accounting
from trilemma.privacy.plan import Plan
from trilemma.training import optimizers
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.ranks import Ranks
from trilemma.trial.card import card
from trilemma.trial.train import follow

CPU = Execution("cpu", 7, "float32")
"""Seven at once, so that most logical batches are of several physical ones."""

SCALE = 0.05
"""Standard deviation of the frozen outputs: enough to move every weight visibly."""

NOT_COMPARED = ("truth", "noise_key_digest", "epsilon", "epsilon_rdp", "covered", "ceiling")
"""Of ``privacy`` in result.json: the check of what happened, which the guarantee does not cover and which a frozen
mechanism need not pass; what follows from the key of the noise; and what follows from that check and the event, which
is compared."""

Draws = Sequence[Tensor]
Planted = Callable[["Replay"], AbstractContextManager[object]]


@dataclass
class Replay:
    """One training under a frozen mechanism.

    Attributes:
      data: what it was trained on.
      clipping_norm: C.
      sums: of each update, what ``privatize`` was given, float32 by parameter name.
      states: weights, buffers, averages, velocities and ascent directions, before the first update and after each.
      files: the bytes of what is released.
      reported: what result.json says that is a function of the released weights and of what is public.
    """

    data: Dataset
    clipping_norm: float
    sums: list[dict[str, Tensor]] = field(default_factory=list)
    states: list[dict[str, Tensor]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    reported: dict[str, Any] = field(default_factory=dict)


def replay(
    recipe: tl.Recipe,
    data: Dataset,
    out: Path,
    draws: Draws,
    *,
    network: nn.Module | None = None,
    ranks: Ranks | None = None,
    planted: Planted | None = None,
    measured: bool = False,
) -> Replay:
    """``tl.train`` with the draws given and outputs that follow from the update alone.

    Args:
      draws: of each update, the indices drawn; more than there are updates.
      planted: an error to make in it.
      measured: also run the attacks, which come after the last update and take long.
    """
    replay = Replay(data, recipe.clipping_norm)
    real_draw, real_privatize, real_step = Plan.draw, Plan.privatize, Training.step

    def draw(plan: Plan, *streams: Any) -> Any:
        return dataclasses.replace(real_draw(plan, *streams), indices=draws[len(replay.sums)])

    def privatize(plan: Plan, sample: Any, total: Any, *more: Any, **named: Any) -> dict[str, Tensor]:
        real_privatize(plan, sample, total, *more, **named)  # with all that it checks and records
        replay.sums.append({name: value.clone() for name, value in total.sums.items()})
        generator = torch.Generator().manual_seed(len(replay.sums))
        return {name: SCALE * torch.randn(value.shape, generator=generator) for name, value in total.sums.items()}

    def step(training: Training) -> float:
        if not replay.states:
            replay.states.append(snapshot(training))
        loss = real_step(training)
        replay.states.append(snapshot(training))
        return loss

    with ExitStack() as patches:
        patches.enter_context(planted(replay) if planted else nullcontext())
        real_step = Training.step  # with what was planted
        patches.enter_context(mock.patch.object(Plan, "draw", draw))
        patches.enter_context(mock.patch.object(Plan, "privatize", privatize))
        patches.enter_context(mock.patch.object(Training, "step", step))
        patches.enter_context(nullcontext() if measured else unmeasured())
        # A cache of its own: what one replay fitted or pre-trained on its images must not reach the next through it.
        own_cache = str(out.with_name(f"{out.name}-cache"))
        patches.enter_context(mock.patch.dict(os.environ, {"TRILEMMA_CACHE": own_cache}))
        run = tl.train(recipe, data, out, network=network, execution=CPU, ranks=ranks)
        replay.files = {name: (out / name).read_bytes() for name in ("model.safetensors", "config.json")}
        # Without the privacy record, which holds what NOT_COMPARED says, and under one name.
        config = json.loads(replay.files["config.json"])
        replay.files["README.md"] = card("a run", config, run.result | {"privacy": None}).encode()
    privacy = {key: value for key, value in run.result["privacy"].items() if key not in NOT_COMPARED}
    replay.reported = {"privacy": privacy} | {key: run.result[key] for key in ("accuracy", "course", "environment")}
    return replay


@contextmanager
def unmeasured() -> Iterator[None]:
    """Trainings that end without attacks: these come after the last update and take longer than all of it."""

    def accuracy(data: Dataset, train: Any, test: NDArray[np.float32], **more: Any) -> tuple[dict[str, Any], None]:
        inside, outside = (
            float((logits.argmax(1) == split.labels).mean())
            for logits, split in ((train, data.train), (test, data.test))
        )
        return {"accuracy": outside, "accuracy_interval": None, "train_accuracy": inside, "attacks": {}}, None

    with (
        mock.patch("trilemma.trial.train.measure", accuracy),
        mock.patch("trilemma.trial.train.write_signals", return_value=None),
    ):
        yield


def snapshot(training: Training) -> dict[str, Tensor]:
    """All that later updates start from."""
    state = training.state
    parts = {
        "weights": state.model.state_dict(),
        "velocity": optimizers.tensors_of(state.optimizer, state.model),
        "average": state.average,
        "ascent": state.previous,
    }
    return {f"{part} {name}": value.clone() for part, values in parts.items() for name, value in values.items()}


def distances(first_replay: Replay, other: Replay) -> list[float]:
    """Between the clipped sums of each update, in units of C."""
    return [
        sum(float((first[name].double() - second[name].double()).square().sum()) for name in first) ** 0.5
        / first_replay.clipping_norm
        for first, second in zip(first_replay.sums, other.sums, strict=True)
    ]


def differences(first_replay: Replay, other: Replay) -> list[str]:
    """Names of all that is released, or that later updates start from, and is not the same to the bit."""
    names = [] if len(first_replay.sums) == len(other.sums) else ["number of updates"]
    for update, (first, second) in enumerate(zip(first_replay.states, other.states, strict=False)):
        if save(first) != save(second):
            names.append(f"state after update {update}" if update else "initial state")
    names += [name for name, content in first_replay.files.items() if content != other.files[name]]
    return names + [key for key, value in first_replay.reported.items() if value != other.reported[key]]


# ---- the data -------------------------------------------------------------------------------------------------------


def neighbor(data: Dataset) -> Dataset:
    """The data without the first example, so that every other one moves to another place."""
    return data.without(np.array([0]))


def unrelated(data: Dataset, seed: int = 5) -> Dataset:
    """As many training examples of the same shape with the same public names, and nothing else in common: images of
    bright noise, of which nine in ten have the first label."""
    rng = np.random.default_rng(seed)
    train = data.train
    images = rng.integers(100, 256, train.images.shape, dtype=np.uint8)
    labels = np.where(rng.random(len(train)) < 0.9, 0, rng.integers(0, len(data.classes), len(train))).astype(np.int64)
    groups = None if train.groups is None else rng.integers(0, 2, len(train))
    return dataclasses.replace(data, train=Split(images, labels, groups))


def undrawn(data: Dataset) -> Dataset:
    """The data with unrelated training examples in place of the last third, which :func:`draws_of` never draws."""
    train, other = data.train, unrelated(data).train
    mixed = {
        name: None
        if getattr(train, name) is None
        else np.concatenate([getattr(train, name)[: count_kept(data)], getattr(other, name)[count_kept(data) :]])
        for name in ("images", "labels", "groups")
    }
    return dataclasses.replace(data, train=Split(**mixed))


def count_kept(data: Dataset) -> int:
    return len(data.train) * 2 // 3


def draws_of(data: Dataset, recipe: tl.Recipe, seed: int, *, always: bool = False) -> list[Tensor]:
    """Draws of more updates than any training here has, one of them empty.  With ``always`` the first example is in
    each and the last third in none."""
    if not recipe.batch_size:
        return [torch.arange(len(data.train))] * 60
    coins = torch.rand(60, len(data.train), generator=torch.Generator().manual_seed(seed))
    coins[3] = 1
    if always:
        coins[:, count_kept(data) :] = 1
        coins[:, 0] = 0
    return [torch.nonzero(row < recipe.batch_size / len(data.train)).squeeze(1) for row in coins]


def without_first(draws: Draws) -> list[Tensor]:
    """The same draws on :func:`neighbor`."""
    return [indices[indices > 0] - 1 for indices in draws]


def replays(
    recipe: tl.Recipe,
    data: Dataset,
    folder: Path,
    kinds: Sequence[str],
    *,
    network: Callable[[], nn.Module | None] = lambda: None,
    **how: Any,
) -> list[Replay]:
    """One training for each of ``kinds``: "one" on the data themselves, and "neighbor", "undrawn" or "unrelated"."""
    draws = draws_of(data, recipe, 0, always=True)
    on: dict[str, tuple[Dataset, Draws]] = {
        "one": (data, draws),
        "neighbor": (neighbor(data), without_first(draws)),
        "undrawn": (undrawn(data), draws),
        "unrelated": (unrelated(data), draws_of(data, recipe, 1)),
    }
    return [replay(recipe, on[kind][0], folder / kind, on[kind][1], network=network(), **how) for kind in kinds]


# ---- several processes ----------------------------------------------------------------------------------------------


def main(folder: Path, choices: dict[str, Any]) -> None:
    """What each process does; the first prints what it found."""
    ranks = Ranks.joined(torch.device("cpu"))
    accounting.noise_multiplier = functools.cache(accounting.noise_multiplier)  # each is searched once
    recipe, data = tl.Recipe.from_dict(choices), tl.load_data("digits", limit=60, test_limit=40)
    if ranks.first:
        original, less, other = replays(recipe, data, folder, ("one", "neighbor", "unrelated"), ranks=ranks)
        print(
            json.dumps({"distances": distances(original, less), "differences": differences(original, other)}),
            flush=True,
        )
    else:
        for images in (data, neighbor(data), unrelated(data)):
            follow(recipe, images, ranks, execution=CPU)
    os._exit(0)  # without the goodbyes of the exchange's threads, as the command does


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
