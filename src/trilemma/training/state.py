"""The state of a training between two updates, as one value that can be saved and restored."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.privacy.evidence import Evidence
from trilemma.privacy.randomness import RandomStream
from trilemma.training import optimizers
from trilemma.training.canaries import Coins
from trilemma.training.checkpoints import Checkpoint
from trilemma.words import BEGUN_EARLIER

Tensors = dict[str, Tensor]


@dataclass(eq=False)
class State:
    """A training between two updates: one value that can be saved, compared and resumed.

    Attributes:
      update: how many updates have been made (and, with a budget, charged).
      model: weights and buffers.
      optimizer: over the model's parameters, with what it keeps for each.
      average: moving average of weights and buffers under PA, else empty.
      previous: the previous privatized gradient under DP-SAT, else empty.
      sampling, noise: the streams of what must stay secret.
      evidence: records of what the updates did, for the truth check of a private run; None without a budget.
      coins: which canaries are in, and their scores so far; None without canaries.
    """

    update: int
    model: nn.Module
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]
    previous: dict[str, Tensor]
    sampling: RandomStream
    noise: RandomStream
    evidence: Evidence | None = None
    coins: Coins | None = None

    def to_checkpoint(self, header: dict[str, Any], *, shared: bool = False) -> Checkpoint:
        """This state, on its own device; with ``shared``, only what the other processes of a training compute with."""
        parts = {part: take for part, (take, _) in _PARTS.items() if not (shared and part in _OF_FIRST)}
        tensors = {f"{part}/{name}": value for part, take in parts.items() for name, value in take(self).items()}
        return Checkpoint(tensors, header | {"update": self.update, "canaries": self._canaries})

    def restore(self, checkpoint: Checkpoint, *, shared: bool = False) -> None:
        """Take on the state of a checkpoint; with ``shared``, of one that was made so, and keep the rest.

        Raises:
          InputError: it was saved by version 0.1.0, which drew its random numbers in another way, by a training with
            other canaries, or it holds no evidence of what the updates did, and this training has a budget.
        """
        if not shared and "stream/noise" not in checkpoint.tensors:
            raise InputError(BEGUN_EARLIER)
        canaries = checkpoint.header.get("canaries")
        if not shared and canaries != self._canaries:
            raise InputError(
                f"the checkpoint is of a run with {_in_words(canaries)}, and this one has {_in_words(self._canaries)}: "
                "start again with another --out"
            )
        parts: dict[str, Tensors] = {part: {} for part in _PARTS}
        for key, value in checkpoint.tensors.items():
            part, name = key.split("/", 1)
            if part == "momentum":  # its name before optimizers were torch's
                part, name = "optimizer", f"{name}/momentum_buffer"
            parts[part][name] = value
        for part, (_, put) in _PARTS.items():
            if not (shared and part in _OF_FIRST):
                put(self, parts[part])
        self.update = int(checkpoint.header["update"])

    def evaluation_weights(self) -> dict[str, Tensor]:
        """The weights that are evaluated and released: the average under PA, else the last.  Never the best seen:
        choosing by looking at results is not covered by the guarantee."""
        return self.average or dict(self.model.state_dict())

    @property
    def _canaries(self) -> dict[str, Any] | None:
        """The values for the header of a checkpoint."""
        return self.coins.canaries.to_dict() if self.coins else None

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _put_evidence(self, tensors: Tensors) -> None:
        if self.evidence is not None:
            self.evidence.restore({name: value.to(self._device) for name, value in tensors.items()}, self._device)

    def _put_coins(self, tensors: Tensors) -> None:
        if self.coins is not None:
            self.coins.restore(tensors)

    def _put_streams(self, tensors: Tensors) -> None:
        for name, value in tensors.items():
            getattr(self, name).set_state(value)


def _in_words(canaries: Any) -> str:
    """``canaries`` of a header, which may be anything."""
    if not isinstance(canaries, dict):
        return "no canaries"
    return f"{canaries.get('count')} {canaries.get('kind')} canaries"


def _tensors_of(name: str) -> tuple[Callable[[State], Tensors], Callable[[State, Tensors], None]]:
    """How to take and put back an attribute that is a dictionary of tensors on the model's device."""

    def put(state: State, tensors: Tensors) -> None:
        setattr(state, name, {key: value.to(state._device) for key, value in tensors.items()})

    return operator.attrgetter(name), put


_PARTS: dict[str, tuple[Callable[[State], Tensors], Callable[[State, Tensors], Any]]] = {
    "model": (lambda s: s.model.state_dict(), lambda s, tensors: s.model.load_state_dict(tensors)),
    "optimizer": (
        lambda s: optimizers.tensors_of(s.optimizer, s.model),
        lambda s, tensors: optimizers.restore(s.optimizer, s.model, tensors),
    ),
    "average": _tensors_of("average"),
    "previous": _tensors_of("previous"),
    "evidence": (lambda s: s.evidence.to_tensors() if s.evidence else {}, State._put_evidence),
    "coins": (lambda s: s.coins.to_tensors() if s.coins else {}, State._put_coins),
    "stream": (lambda s: {n: getattr(s, n).get_state() for n in ("sampling", "noise")}, State._put_streams),
    # Without a budget, layers of a user's own network may draw from torch's global generator (dropout does).
    "generator": (
        lambda _: {"global": torch.get_rng_state()},
        lambda _, tensors: torch.set_rng_state(tensors["global"]),
    ),
}
"""What a checkpoint holds: how each part is taken from a state, as tensors by name, and put back."""

_OF_FIRST = ("evidence", "coins", "stream")
"""Parts that only the first process of a training uses: the keys of sampling and noise go to no other."""
