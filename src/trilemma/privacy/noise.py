"""Gaussian noise: added once per logical batch, in float64 whatever the network computes in."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, float32, float64

from trilemma.privacy.randomness import RandomStream


def add_gaussian_noise(
    sums: Mapping[str, Tensor], *, standard_deviation: float, stream: RandomStream
) -> dict[str, Tensor]:
    """Each entry plus an independent N(0, standard_deviation^2).

    Args:
      sums: float64 or float32 tensors by parameter name; the order of names is the order of drawing.
      standard_deviation: sigma * C, in the unit of the sums.
      stream: source of the noise.  It is advanced, never reset: numbers that repeat would cancel between two
        releases.  Its state belongs to the training state and goes into every checkpoint.

    Returns:
      New tensors, float32: rounding after the noise is post-processing.

    Raises:
      TypeError: a sum of another type: what has been rounded to fewer bits has another sensitivity.

    Limits: whoever knows the stream's key knows the noise.  The numbers are floating-point normals: an adversary who
    sees every bit of the output may learn more than real-valued noise would allow (Mironov 2012; Casacuberta et al.
    2022).
    """
    noisy = {}
    for name, total in sums.items():
        if total.dtype not in (float32, float64):
            raise TypeError(f"the sum for {name} is {total.dtype}; noise is only added to float32 and float64 sums")
        # float64, since normals drawn in float32 end at 5.77 std, which cuts off a tail that delta counts on.
        noise = stream.normal(total.numel()).view(total.shape)
        noisy[name] = noise.to(total.device).mul_(standard_deviation).add_(total).float()
    return noisy
