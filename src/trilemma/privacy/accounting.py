"""What an update costs: from noise to epsilon and back.

**Unit of privacy**: one training example with its label.  **Neighboring data sets** differ by adding or
removing one example.  **Mechanism**: every update draws each of the N examples independently with probability
q = B / N (Poisson sampling), sums the drawn examples' gradients, each clipped to L2 norm C, and adds Gaussian
noise of standard deviation sigma * C; T such updates are composed adaptively.  N and B are public.

The loss of this composition is computed from privacy loss distributions (PLD; Koskela et al. 2020, Doroshenko
et al. 2022) by :mod:`trilemma.privacy.loss_distribution`: the epsilon printed is an upper bound, less than 1 % above
the true value.  Full-batch updates (q = 1) have a closed form, :mod:`trilemma.privacy.gaussian`.  Rényi accounting
(Mironov et al. 2019; Google's dp-accounting) is a second opinion that is never smaller for these mechanisms; a bound
from below is in :mod:`trilemma.privacy.second_opinion`.

The numbers hold for true Poisson draws only.  For shuffled or fixed-size batches they are *not* an upper bound
(arXiv 2411.10614), so nothing here has a switch for them.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy.optimize import brentq

from trilemma.errors import InputError, PrivacyError
from trilemma.privacy import gaussian, loss_distribution
from trilemma.words import DELTA_RANGE, power

Accountant = Literal["pld", "rdp"]

LARGEST_EPSILON = 1_000.0
"""No budget above this is calibrated for."""

NOISE_MULTIPLIERS = (0.01, 1e9)
"""What the accountants take; beyond it their numbers overflow or lose their digits."""

MOST_UPDATES = 10**9
"""What the accountants take."""

LARGEST_NOISE_MULTIPLIER = 10_000.0
"""Calibration gives up here: a target that needs more noise than this is out of reach."""

SMALLEST_NOISE_MULTIPLIER = 0.3
"""Calibration never returns less: less noise would not help utility, and losses become slow to compute."""


@dataclass(frozen=True)
class Event:
    """What happened: ``updates`` Poisson-subsampled Gaussian releases.  Stored with every run, so that any later
    accountant can recompute epsilon.

    Attributes:
      sampling_probability: q in (0, 1]; 1 is the full batch.
      noise_multiplier: sigma > 0, the noise's standard deviation in units of the clipping norm; an epsilon is known for
        those in ``NOISE_MULTIPLIERS``.
      updates: T, between 0 and ``MOST_UPDATES``.

    Raises:
      PrivacyError: a value outside its range.
    """

    sampling_probability: float
    noise_multiplier: float
    updates: int

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability <= 1:
            raise PrivacyError(f"the sampling probability must lie in (0, 1], not {self.sampling_probability}")
        if not (self.noise_multiplier > 0 and math.isfinite(self.noise_multiplier)):
            raise PrivacyError(
                f"the noise multiplier must be positive and finite, not {self.noise_multiplier}: "
                "without noise there is no finite epsilon"
            )
        if not 0 <= self.updates <= MOST_UPDATES:
            raise PrivacyError(f"the number of updates must be between 0 and {MOST_UPDATES:,}, not {self.updates}")

    def epsilon(self, delta: float, *, accountant: Accountant = "pld") -> float:
        """Upper bound on epsilon at ``delta`` for this event (see the module's text for its conditions).

        Raises:
          InputError: ``delta`` outside (0, 1).
          PrivacyError: a noise multiplier outside ``NOISE_MULTIPLIERS``.
        """
        check_delta(delta)
        least, most = NOISE_MULTIPLIERS
        if not least <= self.noise_multiplier <= most:
            raise PrivacyError(
                f"a noise multiplier of {self.noise_multiplier:g} cannot be accounted for: use one between {least:g} "
                f"and {most:g}"
            )
        if self.updates == 0:
            return 0.0
        return _epsilon(self, delta, accountant)

    def to_dict(self) -> dict[str, Any]:
        """The event for a JSON file, as :meth:`from_dict` reads it."""
        return {"mechanism": "poisson-sampled gaussian", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Event:
        """Inverse of :meth:`to_dict`.

        Raises:
          PrivacyError: an event of another mechanism, or a value outside its range.
        """
        if values.get("mechanism") != "poisson-sampled gaussian":
            raise PrivacyError(f"cannot account for the mechanism {values.get('mechanism')!r}")
        return cls(float(values["sampling_probability"]), float(values["noise_multiplier"]), int(values["updates"]))


def epsilon(
    *,
    noise_multiplier: float,
    delta: float,
    batch_size: int,
    updates: int,
    examples: int,
    accountant: Accountant = "pld",
) -> float:
    """Epsilon of ``updates`` updates with the given noise.

    Args:
      noise_multiplier: sigma, in units of the clipping norm.
      delta: in (0, 1).
      batch_size: expected size B of the logical batch, at most ``examples``.
      updates: T.
      examples: N, size of the training set.
      accountant: "pld" (default, tight) or "rdp".

    Returns:
      An upper bound on epsilon under add-or-remove-one neighbors.

    Raises:
      InputError: an argument out of its range.

    >>> round(epsilon(noise_multiplier=3.0, delta=1e-5, batch_size=4096, updates=2468, examples=50_000), 3)
    6.529
    """
    if updates < 1:
        raise InputError(f"updates must be at least 1, not {updates}")
    event = Event(sampling_probability(batch_size, examples), noise_multiplier, updates)
    return event.epsilon(delta, accountant=accountant)


def noise_multiplier(
    *,
    epsilon: float,
    delta: float,
    batch_size: int,
    updates: int,
    examples: int,
    accountant: Accountant = "pld",
) -> float:
    """The smallest noise multiplier (to 4 significant digits, rounded up; at least ``SMALLEST_NOISE_MULTIPLIER``)
    whose epsilon is at most ``epsilon``.

    Calibration never overshoots: the value returned has been checked with the fine accountant.  Arguments as
    for :func:`epsilon`.

    Raises:
      InputError: an argument out of its range, or a target out of reach: one that would need a noise multiplier
        above ``LARGEST_NOISE_MULTIPLIER``.

    >>> noise_multiplier(epsilon=8.0, delta=1e-5, batch_size=4096, updates=2500, examples=50_000)
    2.576
    """
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise InputError(f"epsilon must be positive and finite, not {epsilon}; leave it out to train without a budget")
    check_delta(delta)
    if not 1 <= updates <= MOST_UPDATES:
        raise InputError(f"updates must be between 1 and {MOST_UPDATES:,}, not {updates}")
    if epsilon > LARGEST_EPSILON:
        raise InputError(
            f"epsilon {epsilon:g} promises nothing: use at most {LARGEST_EPSILON:g}, or leave it out to train without "
            "a budget"
        )
    q = sampling_probability(batch_size, examples)
    if q < 1 and delta >= -math.expm1(updates * math.log1p(-q)):
        raise InputError(
            f"delta {power(delta)} is no less than the chance of being drawn at all, so that any noise would do: "
            "use a smaller one"
        )

    def excess(log_sigma: float) -> float:
        spent = Event(q, math.exp(log_sigma), updates).epsilon(delta, accountant=accountant)
        return math.log(max(spent, 1e-12) / epsilon)

    ends = math.log(SMALLEST_NOISE_MULTIPLIER), math.log(LARGEST_NOISE_MULTIPLIER)
    bracket = _bracket(excess, math.log(_guess(epsilon, delta, q, updates)), *ends)
    if bracket is None:
        raise InputError(
            f"epsilon {epsilon:g} at delta {power(delta)} is out of reach with {updates} updates at sampling "
            f"probability {q:.4g}: use a larger epsilon, fewer updates or a smaller batch"
        )
    low, high = bracket
    root = high if low == high else brentq(excess, low, high, xtol=2e-5)
    # The root may lie on either side: step up until the accountant agrees that the target is met.
    step = 0.0
    while excess(math.log(sigma := _round_up(math.exp(root + step), 4))) > 0:
        step += 5e-5
    return sigma


def _bracket(excess: Callable[[float], float], guess: float, least: float, most: float) -> tuple[float, float] | None:
    """Two values, of which the larger has no excess and the smaller has one (or both are ``least``); None if there are
    none up to ``most``."""
    low = high = min(max(guess, least), most)
    step = 0.05
    if excess(high) > 0:
        while True:
            if high >= most:
                return None
            low, high = high, min(high + step, most)
            step *= 2
            if excess(high) <= 0:
                return low, high
    while low > least:
        low, high = max(low - step, least), low
        step *= 2
        if excess(low) > 0:
            return low, high
    return low, low


def check_delta(delta: float, examples: int | None = None, *, allow_large: bool = False) -> None:
    """Refuse a delta that is not a probability or, given N, one of 1/N or more.

    A delta of 1/N allows a mechanism that publishes one example at random, so it promises nothing to that
    example.

    Raises:
      InputError: ``delta`` outside (0, 1).
      PrivacyError: ``delta`` of at least 1 / ``examples``, without ``allow_large``.
    """
    if not 0 < delta < 1:
        raise InputError(DELTA_RANGE.format(delta))
    if examples is not None and delta >= 1 / examples and not allow_large:
        raise PrivacyError(
            f"delta {power(delta)} is 1/N or more for N = {examples} examples, which would allow publishing one of "
            f"them: use less than {1 / examples:.3g}, or force it with --allow-large-delta"
        )


def sampling_probability(batch_size: int, examples: int) -> float:
    """q = B / N.

    Raises:
      InputError: a batch of less than one example or larger than the data.
    """
    if examples < 1:
        raise InputError(f"the number of examples must be at least 1, not {examples}")
    if batch_size < 1:
        raise InputError(f"the batch size must be at least 1, not {batch_size}")
    if batch_size > examples:
        raise InputError(
            f"a batch of {batch_size} is larger than the data ({examples} examples): use at most {examples}"
        )
    return batch_size / examples


@functools.lru_cache(maxsize=4096)  # a pure function of numbers; the trials of a study ask for the same ones
def _epsilon(event: Event, delta: float, accountant: Accountant) -> float:
    if accountant == "pld":
        q, sigma, updates = event.sampling_probability, event.noise_multiplier, event.updates
        if q == 1:
            return gaussian.epsilon(math.sqrt(updates) / sigma, delta)
        return loss_distribution.epsilon(q, sigma, updates, delta)
    if accountant != "rdp":
        raise PrivacyError(f"unknown accountant {accountant!r}: use 'pld' or 'rdp'")
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    book = RdpAccountant(neighboring_relation=dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
    release: Any = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_probability < 1:
        release = dp_accounting.PoissonSampledDpEvent(event.sampling_probability, release)
    with quiet():
        book.compose(release, event.updates)
        return float(book.get_epsilon(delta))


def _guess(epsilon: float, delta: float, q: float, updates: int) -> float:
    """The start of the search for sigma: the Gaussian limit of the composition (Bu et al. 2020).

    It underestimates the loss of subsampled mechanisms and is therefore used for nothing else.
    """

    mu = gaussian.mu(epsilon, delta)
    return math.sqrt(updates) / mu if q == 1 else 1 / math.sqrt(math.log1p((mu / q) ** 2 / updates))


def _round_up(value: float, digits: int) -> float:
    scale = 10.0 ** (digits - 1 - math.floor(math.log10(value)))
    return math.ceil(value * scale) / scale


@contextmanager
def quiet() -> Iterator[None]:
    """Rényi orders that do not converge are left out, which only loosens the bound: not worth a page of log."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
