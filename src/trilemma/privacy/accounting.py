"""What an update costs: from noise to epsilon and back.

**Unit of privacy**: one training example with its label.  **Neighbouring data sets** differ by adding or
removing one example.  **Mechanism**: every update draws each of the N examples independently with probability
q = B / N (Poisson sampling), sums the drawn examples' gradients, each clipped to L2 norm C, and adds Gaussian
noise of standard deviation sigma * C; T such updates are composed adaptively.  N and B are public.

The loss of this composition is computed from privacy loss distributions (PLD; Koskela et al. 2020, Doroshenko
et al. 2022) as implemented by Google's dp-accounting, in its pessimistic form: the epsilon printed is an upper
bound.  Rényi accounting (Mironov et al. 2019) is a second opinion that is never smaller for these mechanisms.

The numbers hold for true Poisson draws only.  For shuffled or fixed-size batches they are *not* an upper bound
(arXiv 2411.10614), so nothing here has a switch for them.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from trilemma.errors import InputError, PrivacyError

Accountant = Literal["pld", "rdp"]

LARGEST_EPSILON = 1_000.0
"""No budget above this is calibrated for."""

LARGEST_NOISE_MULTIPLIER = 10_000.0
"""Calibration gives up here: a target that needs more noise than this is out of reach."""

SMALLEST_NOISE_MULTIPLIER = 0.3
"""Calibration never returns less: what it would save is worth nothing, and losses become slow to compute."""

_FINE, _COARSE = 1e-4, 1e-3  # widths of the cells in which privacy losses are rounded up


def _cell(noise_multiplier: float) -> float:
    """Fine cells where they matter: with little noise the losses are so spread out that they take many seconds and
    change epsilon by less than 0.0005."""
    return _FINE if noise_multiplier >= 1.5 else _COARSE


@dataclass(frozen=True)
class Event:
    """What happened: ``updates`` Poisson-subsampled Gaussian releases.  Stored with every run, so that any later
    accountant can compute epsilon anew.

    Attributes:
      sampling_probability: q in (0, 1]; 1 is the full batch.
      noise_multiplier: sigma > 0, the noise's standard deviation in units of the clipping norm.
      updates: T >= 0.
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
        if self.updates < 0:
            raise PrivacyError(f"the number of updates must not be negative, not {self.updates}")

    def epsilon(self, delta: float, *, accountant: Accountant = "pld") -> float:
        """Upper bound on epsilon at ``delta`` for this event (see the module's text for its conditions).

        Raises:
          InputError: ``delta`` outside (0, 1).
        """
        check_delta(delta)
        if self.updates == 0:
            return 0.0
        return _epsilon(self, delta, accountant, _cell(self.noise_multiplier))

    def to_dict(self) -> dict[str, Any]:
        return {"mechanism": "poisson-sampled gaussian", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Event:
        """Inverse of :meth:`to_dict`; an event of another mechanism is refused."""
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
      An upper bound on epsilon under add-or-remove-one neighbours.

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
    if updates < 1:
        raise InputError(f"updates must be at least 1, not {updates}")
    if epsilon > LARGEST_EPSILON:
        raise InputError(
            f"epsilon {epsilon:g} promises nothing: use at most {LARGEST_EPSILON:g}, or leave it out to train without "
            "a budget"
        )
    q = sampling_probability(batch_size, examples)
    if q < 1 and delta >= -math.expm1(updates * math.log1p(-q)):
        raise InputError(
            f"delta {delta:g} is no less than the chance of being drawn at all, so that any noise would do: "
            "use a smaller one"
        )
    sigma = _guess(epsilon, delta, q, updates)
    search_cell = min(max(_FINE, _FINE * epsilon), _COARSE)

    def excess(log_sigma: float, cell: float = search_cell) -> float:
        spent = _epsilon(Event(q, math.exp(log_sigma), updates), delta, accountant, cell)
        return math.log(max(spent, 1e-12) / epsilon)

    limit = math.log(LARGEST_NOISE_MULTIPLIER)
    floor = math.log(SMALLEST_NOISE_MULTIPLIER)
    low = high = min(max(math.log(sigma), floor), limit)
    while low > floor and excess(low) <= 0:
        low = max(low - 0.1, floor)
    while excess(high) > 0:
        if high >= limit:
            raise InputError(
                f"epsilon {epsilon:g} at delta {delta:g} is out of reach with {updates} updates at sampling "
                f"probability {q:.4g}: use a larger epsilon, fewer updates or a smaller batch"
            )
        high = min(high + 0.1, limit)
    root = low if excess(low) <= 0 else brentq(excess, low, high, xtol=2e-5)
    # The root may lie on either side: step up until the fine accountant agrees that the target is met.
    step = 0.0
    while excess(math.log(sigma := _round_up(math.exp(root + step), 4)), _cell(sigma)) > 0:
        step += 5e-5
    return sigma


def check_delta(delta: float, examples: int | None = None, *, allow_large: bool = False) -> None:
    """Refuse a delta that is no probability or, given N, one of 1/N or more.

    A delta of 1/N allows a mechanism that publishes one example at random, so it promises nothing to that
    example.

    Raises:
      InputError: ``delta`` outside (0, 1), or at least 1 / ``examples`` and not ``allow_large``.
    """
    if not 0 < delta < 1:
        raise InputError(f"delta must lie in (0, 1), not {delta}; 1e-5 is usual")
    if examples is not None and delta >= 1 / examples and not allow_large:
        raise PrivacyError(
            f"delta {delta:g} is 1/N or more for N = {examples} examples, which would allow publishing one of "
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
def _epsilon(event: Event, delta: float, accountant: Accountant, cell: float) -> float:
    import dp_accounting
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    neighbours = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    book: Any
    if accountant == "pld":
        book = PLDAccountant(neighbours, value_discretization_interval=cell)
    elif accountant == "rdp":
        book = RdpAccountant(neighboring_relation=neighbours)
    else:
        raise PrivacyError(f"unknown accountant {accountant!r}: use 'pld' or 'rdp'")
    release: Any = dp_accounting.GaussianDpEvent(event.noise_multiplier)
    if event.sampling_probability < 1:
        release = dp_accounting.PoissonSampledDpEvent(event.sampling_probability, release)
    with quiet():
        book.compose(release, event.updates)
        return float(book.get_epsilon(delta))


def _guess(epsilon: float, delta: float, q: float, updates: int) -> float:
    """Where the search for sigma starts: the Gaussian limit of the composition (Bu et al. 2020).

    It underestimates the loss of subsampled mechanisms and is therefore used for nothing else.
    """

    def log_excess(log_mu: float) -> float:
        mu = math.exp(log_mu)
        a, b = norm.logcdf(-epsilon / mu + mu / 2), epsilon + norm.logcdf(-epsilon / mu - mu / 2)
        return float(a + np.log1p(-math.exp(min(b - a, -1e-15))) - math.log(delta))

    mu = math.exp(brentq(log_excess, math.log(1e-12), math.log(1e3), xtol=1e-3))
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
