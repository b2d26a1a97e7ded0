"""Optimal batch size (OBS): the rule, for trainings with and without a budget.

A trial may spend ``epochs * N`` examples.  With batches of B examples this makes T = epochs * N / B updates.

**With a budget**: among the powers of two from the baseline's batch up to N, and N itself, that leave at least
``fewest_updates`` updates, the one with the least noise per update, sigma(B, T) / B, where sigma is calibrated for the
budget; among batches within 1 % of the least noise, the smallest, since it leaves the most updates.  For a fixed number
of examples this noise falls as B grows (De et al. 2022, TAN: Sander et al. 2023), at first quickly and then hardly at
all.

**Without a budget**: the simple noise scale tr(Sigma) / |G|^2 of McCandlish et al. 2018, above which more examples gain
little.  It is estimated from the squared norms of gradients of two batch sizes (their appendix A.1) after a short
warm-up on a copy, rounded to a power of two, and kept between the baseline's batch and the one that leaves
``fewest_updates``.

The learning rate is scaled by B / baseline's B in both cases (Goyal et al. 2017): the distance that T updates can go
stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trilemma.privacy import accounting

TOLERANCE = 0.01


@dataclass(frozen=True)
class Choice:
    """The chosen batch size and the candidates that it was compared with.

    Attributes:
      batch_size: B.
      rule: how it was chosen, in words.
      weighed: noise per update (in units of the clipping norm) of each candidate with a budget, or the measured noise
        scale without one.
    """

    batch_size: int
    rule: str
    weighed: dict[str, float]


def updates_for(batch_size: int, *, epochs: float, examples: int) -> int:
    """T: the number of batches in ``epochs`` passes over ``examples``, at least 1."""
    return max(1, math.floor(epochs * examples / batch_size + 1e-9))


def candidates(batch_size: int, *, epochs: float, examples: int, fewest_updates: int) -> list[int]:
    """The baseline's batch, then powers of two above it and N, while enough updates are left."""
    powers = [2**k for k in range(batch_size.bit_length() - 1, 40) if batch_size < 2**k < examples]
    larger = [b for b in (*powers, examples) if b > batch_size]
    return [batch_size] + [b for b in larger if updates_for(b, epochs=epochs, examples=examples) >= fewest_updates]


def with_budget(
    *, epsilon: float, delta: float, batch_size: int, epochs: float, examples: int, fewest_updates: int
) -> Choice:
    """The rule for trainings with a budget (see the module's docstring)."""
    noise = {}
    for size in candidates(batch_size, epochs=epochs, examples=examples, fewest_updates=fewest_updates):
        sigma = accounting.noise_multiplier(
            epsilon=epsilon,
            delta=delta,
            batch_size=size,
            updates=updates_for(size, epochs=epochs, examples=examples),
            examples=examples,
            accountant="rdp",  # quick; the training itself is calibrated by PLD
        )
        noise[size] = sigma / size
    least = min(noise.values())
    best = min(size for size, value in noise.items() if value <= least * (1 + TOLERANCE))
    return Choice(best, "least noise per update within the examples allowed", {str(b): v for b, v in noise.items()})


def noise_scale(small: Sequence[float], large: Sequence[float], small_batch: int, large_batch: int) -> float:
    """tr(Sigma) / |G|^2 from squared gradient norms of batches of two sizes.

    Args:
      small, large: squared norms of gradients over ``small_batch`` and ``large_batch`` examples.

    Returns:
      The scale in examples; infinity where the estimate of |G|^2 is not positive.
    """
    a, b = sum(small) / len(small), sum(large) / len(large)
    signal = (large_batch * b - small_batch * a) / (large_batch - small_batch)
    scatter = (a - b) / (1 / small_batch - 1 / large_batch)
    if signal <= 0:
        return math.inf
    return max(scatter, 0.0) / signal


def without_budget(scale: float, *, batch_size: int, epochs: float, examples: int, fewest_updates: int) -> Choice:
    """The rule for trainings without a budget, given the measured noise scale."""
    allowed = candidates(batch_size, epochs=epochs, examples=examples, fewest_updates=fewest_updates)
    best = min(allowed, key=lambda size: abs(math.log(size) - math.log(min(max(scale, 1.0), 1e12))))
    return Choice(best, "the power of two nearest to the gradient noise scale", {"noise_scale": scale})
