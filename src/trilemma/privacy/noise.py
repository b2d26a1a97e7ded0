"""Gaussian noise: added once per logical batch, in float32 whatever the network computes in."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def add_gaussian_noise(
    sums: Mapping[str, Tensor], *, standard_deviation: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Each entry plus an independent N(0, standard_deviation^2).

    Args:
      sums: float32 tensors by parameter name; the order of names is the order of drawing.
      standard_deviation: sigma * C, in the unit of the sums.
      generator: source of the noise.  It is advanced, never reset: numbers that repeat would cancel between two
        releases.  Its state belongs to the training state and goes into every checkpoint.

    Returns:
      New tensors, float32.

    Raises:
      TypeError: a sum that is not float32: what has been rounded to fewer bits has another sensitivity.

    Limits: the numbers are floating-point normals from a Mersenne Twister (CPU) or Philox (CUDA).  An adversary
    who sees every bit of the output may learn more than real-valued noise would allow (Mironov 2012; Casacuberta
    et al. 2022), and one who knows the seed knows the noise: on a CPU, torch's ``manual_seed`` leaves 2^32 of them to
    try (see ``trilemma.seeds.private_generator``).
    """
    noisy = {}
    for name, total in sums.items():
        if total.dtype != torch.float32:
            raise TypeError(f"the sum for {name} is {total.dtype}; noise is only added to float32 sums")
        # Normals drawn in float32 end at 5.77 deviations, which cuts off a tail that delta counts on; in float64 they
        # end at 8.6.
        noise = torch.randn(total.shape, dtype=torch.float64, generator=generator, device=generator.device)
        noisy[name] = noise.to(total.device).mul_(standard_deviation).add_(total).float()
    return noisy
