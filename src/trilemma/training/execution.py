"""How a training is computed: device, precision, batch size; they affect speed and rounding only."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trilemma.errors import InputError
from trilemma.machine import faster_in_bfloat16
from trilemma.privacy.clipping import Method


@dataclass(frozen=True)
class Execution:
    """How a training is computed.  Nothing here changes the guarantee, or an update by more than rounding.

    Attributes:
      device: "auto" takes CUDA, then the CPU.  Apple's MPS is refused: norms and noise are float64, which it lacks.
      physical_batch: the number of examples computed at once; None finds the largest that helps and fits in memory.
      compute: "auto" is bfloat16 where the device is faster in it, else float32.
      method: how the clipped gradient is computed.
      memory: bytes that a physical batch may take; None is 80 % of what a GPU has free, half of what a machine has.
    """

    device: str = "auto"
    physical_batch: int | None = None
    compute: str = "auto"
    method: Method = "auto"
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.physical_batch is not None and self.physical_batch < 1:
            raise InputError(f"--physical-batch must be at least 1, not {self.physical_batch}")
        if self.memory is not None and self.physical_batch is not None:
            raise InputError("--memory finds the physical batch: leave out --physical-batch, or --memory")

    def resolved_device(self) -> torch.device:
        """The device to compute on; "auto" is a GPU if there is one.

        Raises:
          InputError: the device cannot be used.
        """
        if self.device != "auto":
            if self.device.startswith("mps"):
                raise InputError("norms and noise are computed in float64, which Apple's MPS lacks: use --device cpu")
            try:
                device = torch.device(self.device)
                torch.zeros(1, device=device)
            except (RuntimeError, AssertionError, NotImplementedError) as error:
                raise InputError(
                    f"cannot use the device {self.device!r} ({str(error).splitlines()[0]}): try cpu"
                ) from error
            return device
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def autocast(self, device: torch.device) -> torch.dtype | None:
        """bfloat16 or None (float32).

        Raises:
          InputError: there is no such type.
        """
        if self.compute not in ("auto", "float32", "bfloat16"):
            raise InputError(f"compute must be auto, float32 or bfloat16, not {self.compute!r}")
        if self.compute == "auto":
            if device.type == "cuda":
                fast = torch.cuda.is_bf16_supported(including_emulation=False)
            else:
                fast = device.type == "cpu" and faster_in_bfloat16()
            return torch.bfloat16 if fast else None
        return torch.bfloat16 if self.compute == "bfloat16" else None
