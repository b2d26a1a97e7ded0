"""Gaussian noise: added once per logical batch, in float64 whatever the network computes in.

**No noise is added to two sums.**  The noise of an update is the stream that follows from a key, from the update's
position, and from the value of the sum itself (``noise_stream``).  With one key, the same sum gets the same noise, so
that what is released is the same again and tells nothing more; a sum that differs in the last bit gets unrelated noise.
Whatever made two runs share a key (a copy of a checkpoint that continues with other rounding, two networks from outside
whose code is the same and whose settings are not, a random generator of a virtual machine that was cloned), the
releases cannot be subtracted.

Within one run, the key is secret and each position is used once, so for whoever does not have the key, the noise is as
independent of the sum as if it came from the key alone: HMAC is a pseudorandom function, and it is evaluated once at
each position.  (The same step makes signatures safe from a generator that repeats, RFC 6979, and encryption from a
nonce that does, Rogaway and Shrimpton 2006.)

Two runs with one key still make the same draws, and whoever sees both sees in which updates their sums are equal; they
are not two independent mechanisms, and no accountant may compose them as such.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, float32, float64

from trilemma.privacy.randomness import RandomStream, tensors_digest


def add_gaussian_noise(
    sums: Mapping[str, Tensor], *, standard_deviation: float, stream: RandomStream
) -> dict[str, Tensor]:
    """Each entry plus an independent N(0, standard_deviation^2).

    Args:
      sums: float64 or float32 tensors by parameter name; the order of names is the order of drawing.
      standard_deviation: sigma * C, in the unit of the sums.
      stream: source of the noise.  It is advanced, never reset.  Its state belongs to the training state and goes into
        every checkpoint.

    Returns:
      New tensors, float32: rounding after the noise is post-processing.

    Raises:
      TypeError: a sum of another type: what has been rounded to fewer bits has another sensitivity.

    Limits: whoever knows the stream's key knows the noise.  The numbers are floating-point normals: an adversary who
    sees every bit of the output may learn more than real-valued noise would allow (Mironov 2012; Casacuberta et al.
    2022).
    """
    for name, total in sums.items():
        if total.dtype not in (float32, float64):
            raise TypeError(f"the sum for {name} is {total.dtype}; noise is only added to float32 and float64 sums")
    noisy = {}
    own = noise_stream(sums, standard_deviation=standard_deviation, stream=stream)
    for name, total in sums.items():
        # float64, since normals drawn in float32 end at 5.77 std, which cuts off a tail that delta counts on.
        noise = own.normal(total.numel()).view(total.shape)
        noisy[name] = noise.to(total.device).mul_(standard_deviation).add_(total).float()
    return noisy


def noise_stream(sums: Mapping[str, Tensor], *, standard_deviation: float, stream: RandomStream) -> RandomStream:
    """The stream of the noise for these sums alone; ``stream`` advances by a block.

    The standard deviation is part of it: one noise at two scales would be two equations for one sum.  Equal numbers
    count as equal, in whatever type they come (0.0 and -0.0, a float and numpy's): two noises at one sum and scale
    would be averaged.
    """
    scale = f"{float(standard_deviation).hex()} {list(sums)} "
    values = {name: total.double() + 0.0 for name, total in sums.items()}  # by which -0.0 becomes 0.0
    return stream.derived((scale + tensors_digest(values)).encode())
