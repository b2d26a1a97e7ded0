"""The state of a training between two updates, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.privacy.evidence import Evidence
from trilemma.privacy.randomness import RandomStream
from trilemma.training.checkpoints import Checkpoint


@dataclass(eq=False)
class State:
    """A training between two updates: one value that can be saved, compared and resumed.

    Attributes:
      update: how many updates have been made (and, with a budget, charged).
      model: weights and buffers.
      momentum: velocity of SGD by parameter name.
      average: moving average of weights and buffers under PA, else empty.
      previous: the previous privatised gradient under DP-SAT, else empty.
      sampling, noise: the streams of what must stay secret.
      evidence: of what the updates did, for the truth check of a private run; None without a budget.
    """

    update: int
    model: nn.Module
    momentum: dict[str, Tensor]
    average: dict[str, Tensor]
    previous: dict[str, Tensor]
    sampling: RandomStream
    noise: RandomStream
    evidence: Evidence | None = None

    def to_checkpoint(self, header: dict[str, Any]) -> Checkpoint:
        tensors = {
            f"{part}/{name}": value
            for part, values in (
                ("model", self.model.state_dict()),
                ("momentum", self.momentum),
                ("average", self.average),
                ("previous", self.previous),
                ("evidence", self.evidence.to_tensors() if self.evidence else {}),
            )
            for name, value in values.items()
        }
        for name in ("sampling", "noise"):
            tensors[f"stream/{name}"] = getattr(self, name).get_state()
        # Without a budget, layers of a user's own network may draw from torch's global generator (dropout does).
        tensors["generator/global"] = torch.get_rng_state()
        return Checkpoint(tensors, header | {"update": self.update})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become the state that was saved.

        Raises:
          InputError: it was saved by version 0.1.0, which drew its random numbers in another way, or it holds no
            evidence of what the updates did, and this training has a budget.
        """
        if "stream/noise" not in checkpoint.tensors:
            raise InputError(
                "this run was begun by an earlier version, whose random numbers this one cannot go on with: "
                "start it anew with another --out"
            )
        parts: dict[str, dict[str, Tensor]] = {
            part: {} for part in ("model", "momentum", "average", "previous", "evidence")
        }
        device = next(self.model.parameters()).device
        for key, value in checkpoint.tensors.items():
            part, name = key.split("/", 1)
            if part == "generator":
                torch.set_rng_state(value)
            elif part == "stream":
                getattr(self, name).set_state(value)
            else:
                parts[part][name] = value.to(device)
        if self.evidence is not None:
            self.evidence.restore(parts["evidence"], device)
        self.model.load_state_dict(parts["model"])
        self.momentum, self.average, self.previous = parts["momentum"], parts["average"], parts["previous"]
        self.update = int(checkpoint.header["update"])

    def evaluation_weights(self) -> dict[str, Tensor]:
        """The weights that are evaluated and released: the average under PA, else the last.  Never the best seen:
        choosing by looking at results is not covered by the guarantee."""
        return self.average or dict(self.model.state_dict())
