"""One private training in several processes, which share the work of each update (torchrun).

The first process decides everything that is secret: it draws the logical batch and tells the others, which compute
clipped sums over their share of it (an example's views follow from the example and the update, so each process knows
them).  The sums are added up once for each logical batch, the first process adds the noise once, and sends the
privatized gradient, which is all that reaches anyone's weights.  So the mechanism is that of one process, whatever the
number of processes, and with the same streams it releases the same values up to rounding; how the work is shared is
post-processing of the draw and does not change the sensitivity to any example.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from trilemma.errors import InputError, PrivacyError
from trilemma.privacy.gradients.sums import ClippedSum

_PATIENCE = datetime.timedelta(hours=12)
"""How long the others wait for the first process while it evaluates; a process that dies is noticed at once."""


class RankLost(Exception):
    """Another process of this training has ended."""


@dataclass(frozen=True)
class Ranks:
    """The processes of one training; by default, this process alone.

    Attributes:
      rank: the number of this process, from 0.
      size: the number of processes.
      device: the device of the tensors that are exchanged.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def joined(cls, device: torch.device) -> Ranks:
        """The processes that torchrun has started, once all have arrived; without torchrun, this process alone."""
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return cls()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
        return cls(dist.get_rank(), dist.get_world_size(), device)

    @property
    def first(self) -> bool:
        """Whether this process is the one that draws, adds the noise, and writes."""
        return self.rank == 0

    def tell(self, value: Any) -> Any:
        """The first process's ``value``, in every process."""
        if self.size == 1:
            return value
        box = [value if self.first else None]
        self._exchange(lambda: dist.broadcast_object_list(box, src=0, device=self.device))
        return box[0]

    def dismiss(self) -> None:
        """Tell the other processes that nothing is left to do; called by the first process."""
        self.tell(None)

    def share(self, count: int) -> Tensor:
        """The places, int64 and ascending, of a logical batch of ``count`` examples that are this process's to compute;
        every place belongs to exactly one process."""
        return torch.arange(count)[self.rank :: self.size]

    def add_up(self, total: ClippedSum, places: Tensor, count: int) -> ClippedSum:
        """The clipped sum over a whole logical batch of ``count``, from each process's over its ``places`` of it.

        Raises:
          PrivacyError: a place was computed by nobody, or twice.
        """
        if self.size == 1:
            return total
        # Everything in one exchange: the sum, and at each example's place its norm, its loss and whether it was
        # computed.
        by_place = torch.zeros(3, count, device=self.device)
        by_place[:, places.to(self.device)] = torch.stack([total.norms, total.losses, torch.ones_like(total.norms)])
        both = torch.cat([*(s.flatten() for s in total.sums.values()), by_place.flatten()])
        self._exchange(lambda: dist.all_reduce(both))
        norms, losses, seen = both[len(both) - 3 * count :].float().view(3, count)
        if not bool((seen == 1).all()):
            raise PrivacyError("the processes of this training do not agree on who computes which example")
        sums = dict(zip(total.sums, self._apart(both, total.sums), strict=True))
        return ClippedSum(sums, norms, losses, total.clipping_norm)

    def gradient_of_first(self, gradient: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first process's gradient, float32, in every process; the others pass one of the same shapes."""
        if self.size == 1:
            return gradient
        together = torch.cat([g.float().flatten() for g in gradient.values()])
        self._exchange(lambda: dist.broadcast(together, src=0))
        return dict(zip(gradient, self._apart(together, gradient), strict=True))

    @staticmethod
    def _apart(together: Tensor, like: dict[str, Tensor]) -> list[Tensor]:
        parts, start = [], 0
        for value in like.values():
            parts.append(together[start : start + value.numel()].view(value.shape))
            start += value.numel()
        return parts

    @staticmethod
    def _exchange(action: Any) -> None:
        try:
            action()
        except RuntimeError as error:
            raise RankLost(
                "another process of this training has ended (its own message says why); the same command goes on from "
                "the last checkpoint, with as many processes as you like"
            ) from error


def ranked_device(device: torch.device) -> torch.device:
    """The device of this process: the GPU of its local rank, where there are GPUs.

    Raises:
      InputError: more processes than GPUs.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    if local >= torch.cuda.device_count():
        raise InputError(
            f"process {local} has no GPU ({torch.cuda.device_count()} here): start as many as there are GPUs"
        )
    return torch.device("cuda", local)
