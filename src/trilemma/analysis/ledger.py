"""The privacy ledger of a study: what each private trial costs, and what its trials cost together.

The (epsilon, delta) of a trial covers one model.  A study trains many models on the same examples, and publishing
several of them, or looking at all and publishing the best, costs more.  The ledger states how much, or that nothing is
proven.  The unit of privacy and the neighboring relation are those of :mod:`trilemma.privacy.accounting`: one example,
added or removed.

**Same examples.**  Trials belong to one family when they learned from the same images (:func:`data_family`).  Limits,
skews, targets, and seeds are ignored: a trial that saw only some of the images is charged as if it had seen all.

**Releasing all models** costs what composition charges, if

- every trial drew its own sampling and noise.  Two trials drew the same if their runs recorded the same key digest, or
  if both are of version 0.1.0, which recorded none, and have the same seed.  One model then reveals the other's noise,
  so nothing is proven for such trials, whether they belong to one family or to two;
- nobody knows the seed or key that the noise came from, and with which it can be drawn again;
- an image's absence takes at most one example from each training set and changes no other example.  That fails where a
  training set was chosen by looking at another model: in the removal of the most exposed examples and in its control,
  which copies their classes.  It also fails if limits, skews, and drawn test splits are dealt again without the image:
  they have exact counts per class and are assigned by position, so one missing image among 50,000 changes the groups of
  thousands of others.  Hence the condition: the subset, the split, and the groups are public, are functions of an
  image's place in its source and of a seed, and are held fixed when an image is removed.  Within one trial, neighbors
  are then the training set and the training set without one example (``Dataset.without``).  Across trials with
  different limits, skews, and seeds, one image is one example of each training set that has it, as composition needs;
- no trial measured what it releases on images that another trial learned from, as could happen where two trials drew
  their test splits from different seeds.

**Releasing the best model**, after every trial of a fixed grid ran once, is not covered by the bounds for selection,
which need a random number of runs.  The price of releasing all models holds for it, because the best is computed from
all.  The ledger also gives what a covered selection would have cost (see :mod:`trilemma.analysis.selection`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trilemma.analysis.private_trial import PrivateTrial
from trilemma.analysis.selection import DISTRIBUTIONS, BestOfRandom, GridCost
from trilemma.errors import InputError, PrivacyError
from trilemma.files import jsonable
from trilemma.hints import listed
from trilemma.trial.statement import NEIGHBORING, UNIT
from trilemma.words import capital, power

Status = Literal["covered", "not covered"]

CONDITIONS_ALL = (
    "every trial drew its own noise, and whoever sees what is released does not know the seed or key that it came from",
    "an image's absence takes at most one example from each training set and changes no other",
    "the subset that a limit keeps, a test split that was drawn, and the groups that a skew assigns are public: they "
    "follow from an image's place in its source and a seed, and are held fixed when an image is removed",
    "only the weights are released, and what is computed from them and from public data, or from test data that no "
    "trial learned from",
)
"""The conditions under which the price of releasing all holds."""

_SEEDED = (
    "So that the study can be repeated, the noise of its trials is drawn from the seeds in study.json. Whoever knows a "
    "trial's seed can draw its noise again, and nothing is proven against them. Train a model that is to be released "
    "with secret noise."
)

CONDITIONS_SELECTION = (
    "the number of trials is drawn from the named distribution before anything is seen",
    "each trial is drawn uniformly from the grid, with replacement, and trained with fresh noise",
    "only the best is released: neither the others' results nor how many there were",
    "the best is chosen by the weights and test or public data alone, for example by test accuracy",
    "it is not chosen by training accuracy, an attack, or the harmonic score, which look at training images",
    "the grid was not chosen by looking at these examples, for example by a trial without a budget",
)
"""Conditions, in addition to `CONDITIONS_ALL`, for the price of releasing the best of a random number of trials."""


@dataclass(frozen=True)
class AllReleased:
    """What it costs to release all private trials of a family.

    Attributes:
      status: "covered", or "not covered", which means that no epsilon is proven.
      why: the reasons why it is not covered.
      delta: the smallest delta of the trials.
      epsilon: at ``delta``; None if not covered.
      counted: the number of trials in ``composed``: all but those whose training set was chosen by looking at another
        model.
      composed: what composition charges for these trials if each drew its own noise; None if there are none.
      composed_rdp: the same from a second accountant.
    """

    status: Status
    why: tuple[str, ...]
    delta: float
    epsilon: float | None
    counted: int
    composed: float | None
    composed_rdp: float | None


@dataclass(frozen=True)
class BestReleased:
    """What it costs to look at all private trials of a family and release the best.

    Attributes:
      status: "not covered" by the bounds for selection, because every trial of the grid ran once; "covered" where there
        is only one trial, so that nothing was chosen.
      why: the reasons.
      epsilon: the price of all, which holds nevertheless, because the best is computed from all; None if that is not
        covered.
      if_random: the price if the number of trials had been random, with the actual number as its mean.
    """

    status: Status
    why: tuple[str, ...]
    epsilon: float | None
    if_random: tuple[BestOfRandom, ...]


@dataclass(frozen=True)
class Family:
    """The private trials that learned from the same examples.

    Attributes:
      name: see :func:`data_family`.
      trials: in the order given.
      all_released, best_released: what they cost together.
    """

    name: str
    trials: tuple[PrivateTrial, ...]
    all_released: AllReleased
    best_released: BestReleased

    def to_dict(self) -> dict[str, Any]:
        """The family's entry in ``ledger.json``; no number in it is infinite."""
        trials = [asdict(t) | {"event": t.event.to_dict(), "covered": t.chosen_by is None} for t in self.trials]
        random = [row.to_dict() for row in self.best_released.if_random]
        values: dict[str, Any] = jsonable(
            {
                "family": self.name,
                "trials": trials,
                "all_released": asdict(self.all_released),
                "best_released": asdict(self.best_released) | {"if_random": random},
                "sentences": self.sentences(),
            },
            infinity=None,
        )
        return values

    def sentences(self) -> list[str]:
        """What the report says about the family."""
        n, every, best = len(self.trials), self.all_released, self.best_released
        costs, deltas = {t.epsilon for t in self.trials}, {t.delta for t in self.trials}
        alone = f"{'' if len(costs) == 1 else 'at most '}epsilon {_shown(max(costs))}"
        delta_words = f"at delta {power(every.delta)}"
        own = delta_words if len(deltas) == 1 else "at its own delta"
        if n == 1:
            text = [
                f"One private trial learned from the training examples of {self.name}; it costs {alone} {delta_words}."
            ]
            if every.why:
                text.append(f"That is not covered together with the rest of the study: {'; '.join(every.why)}.")
            return text
        text = [
            f"{n} private trials learned from the training examples of {self.name}; alone, each costs {alone} {own}."
        ]
        if every.epsilon is not None:
            text.append(f"Releasing all {n} costs epsilon {_shown(every.epsilon)} {delta_words}.")
        else:
            text.append(f"No epsilon is proven for releasing all {n}: {'; '.join(every.why)}.")
        if every.epsilon is None and every.composed is not None:
            rest = (
                f"all {n}"
                if every.counted == n
                else f"the {every.counted} whose training set was not chosen by a model"
            )
            price = f"epsilon {_shown(every.composed)} {delta_words}"
            text.append(f"If each had its own noise, releasing {rest} would cost {price}.")
        holds = "no epsilon is proven for that either"
        if best.epsilon is not None:
            holds = f"the price of releasing all, epsilon {_shown(best.epsilon)}, holds instead"
        text.append(
            f"Releasing only the best is not covered by the bounds for selection, because {best.why[0]}: {holds}."
        )
        if best.if_random:
            prices = [f"{_shown(row.epsilon)} ({row.distribution})" for row in best.if_random]
            text.append(
                f"If the number of trials had been drawn at random with mean {best.if_random[0].mean:g}, and each "
                f"trial at random from these, releasing the best would have cost epsilon {', '.join(prices)} "
                f"{delta_words}."
            )
        return text


@dataclass(frozen=True)
class Ledger:
    """All private trials of a study, by family."""

    families: tuple[Family, ...]

    def to_dict(self) -> dict[str, Any]:
        """The values for ``ledger.json``; no number in them is infinite."""
        values: dict[str, Any] = jsonable(
            {
                "unit": UNIT,
                "neighbouring": NEIGHBORING,
                "conditions": {"all_released": list(CONDITIONS_ALL), "if_random": list(CONDITIONS_SELECTION)},
                "families": [family.to_dict() for family in self.families],
                "sentences": self.sentences(),
                "paragraphs": self.paragraphs(),
                "condition_sentences": self.conditions(),
            },
            infinity=None,
        )
        return values

    def rows(self) -> list[dict[str, Any]]:
        """The rows for a CSV file, one per private trial; None where no epsilon is proven.

        ``covered`` is the trial's own, released alone; ``composed`` and ``counted`` are those of `AllReleased`.
        """
        return [
            jsonable(
                {
                    "trial": trial.id,
                    "label": trial.label,
                    "family": family.name,
                    "same_examples": len(family.trials),
                    "delta": trial.delta,
                    "epsilon": trial.epsilon,
                    "covered": trial.chosen_by is None,
                    "all_released": family.all_released.epsilon,
                    "best_released": family.best_released.epsilon,
                    "composed": family.all_released.composed,
                    "counted": family.all_released.counted,
                },
                infinity=None,
            )
            for family in self.families
            for trial in family.trials
        ]

    def sentences(self) -> list[str]:
        """What the report says about the study."""
        if not self.families:
            return ["No finished trial had a privacy budget, so there is nothing to account for."]
        prices = [sentence for family in self.families for sentence in family.sentences()]
        return [*prices, *self._limits(), *self.conditions()]

    def paragraphs(self) -> list[str]:
        """The same without the conditions: a paragraph for each family, and what nothing here covers."""
        if not self.families:
            return self.sentences()
        return [*(" ".join(family.sentences()) for family in self.families), *self._limits()]

    def conditions(self) -> list[str]:
        """The conditions under which the prices hold, as sentences."""
        text = []
        if any(family.all_released.composed is not None for family in self.families):
            text += [f"Every price holds under {len(CONDITIONS_ALL)} conditions.", *_numbered(CONDITIONS_ALL)]
        if any(family.best_released.if_random for family in self.families):
            text.append(f"Prices for a random number of trials hold under {len(CONDITIONS_SELECTION)} more conditions.")
            text += _numbered(CONDITIONS_SELECTION)
        return text

    def _limits(self) -> list[str]:
        """What the prices do not cover."""
        seeded = any(trial.noise is not None for family in self.families for trial in family.trials)
        unbounded = "Trials without a budget have no epsilon, and nothing here covers releasing one of them."
        return [*([_SEEDED] if seeded else []), unbounded]


def ledger_of(trials: Iterable[PrivateTrial]) -> Ledger:
    """The ledger of a study's private trials.  It is computed from the arguments alone; no file is read or written.

    Raises:
      InputError: a trial is given twice.
      PrivacyError: a trial reports far less than its event costs.

    >>> from trilemma.privacy.accounting import Event
    >>> event = Event(sampling_probability=1.0, noise_multiplier=8.0, updates=4)
    >>> trials = [PrivateTrial(f"t{n}", "", "digits", event, 1e-5, 0.93) for n in range(4)]
    >>> round(ledger_of(trials).families[0].all_released.epsilon, 2)  # as Event(1.0, 8.0, 16) alone
    1.99
    """
    members = list(trials)
    repeated = [name for name, count in Counter(trial.id for trial in members).items() if count > 1]
    if repeated:
        raise InputError(f"trial {repeated[0]} is in the ledger twice: give each trial once")
    noise_uses = Counter(trial.noise for trial in members if trial.noise is not None)
    families: dict[str, list[PrivateTrial]] = {}
    for trial in members:
        families.setdefault(trial.family, []).append(trial)
    return Ledger(tuple(_family(name, group, noise_uses) for name, group in families.items()))


def _family(name: str, trials: Sequence[PrivateTrial], noise_uses: Mapping[str, int]) -> Family:
    counted = [trial for trial in trials if trial.chosen_by is None]
    delta = min(trial.delta for trial in trials)
    composed = composed_rdp = None
    random: tuple[BestOfRandom, ...] = ()
    if counted:
        cost = GridCost((trial.event for trial in counted), delta=delta)
        _check_reports(counted, cost)
        composed_rdp = cost.all_released("rdp")
        composed = min(cost.all_released(), composed_rdp)
        if len(counted) > 1:
            random = tuple(cost.best_of_random(name, mean=len(counted)) for name in DISTRIBUTIONS)
    chosen = _chosen(trials)
    why = chosen + _shared(trials, noise_uses)
    covered = None if why else composed
    every = AllReleased(_status(why), why, delta, covered, len(counted), composed, composed_rdp)
    if len(trials) == 1:  # nothing was chosen, and alone it shares its noise with nothing
        return Family(name, tuple(trials), every, BestReleased(_status(chosen), chosen, composed, ()))
    fixed = "they hold for a random number of trials, not for a fixed grid in which every trial ran once"
    return Family(name, tuple(trials), every, BestReleased("not covered", (fixed, *why), covered, random))


def _status(why: tuple[str, ...]) -> Status:
    return "not covered" if why else "covered"


def _chosen(trials: Iterable[PrivateTrial]) -> tuple[str, ...]:
    scorers = [trial.chosen_by for trial in trials if trial.chosen_by is not None]
    if not scorers:
        return ()
    return (
        f"{_trials(len(scorers))} learned from a training set that was chosen by looking at another model "
        f"({listed(sorted(set(scorers)), most=3)}), which no epsilon here accounts for",
    )


def _shared(trials: Iterable[PrivateTrial], noise_uses: Mapping[str, int]) -> tuple[str, ...]:
    sources = [trial.noise for trial in trials if trial.noise is not None and noise_uses[trial.noise] > 1]
    if not sources:
        return ()
    shown = sorted({source[:16] for source in sources})  # "key" and twelve digits of its digest
    return (
        f"{_trials(len(sources))} drew the same noise as another trial of the study "
        f"({listed(shown, most=3)}), so one model reveals the noise of another: "
        "use secret_noise, or a different seed for every trial",
    )


def _check_reports(trials: Iterable[PrivateTrial], cost: GridCost) -> None:
    """Refuse a reported epsilon far below the cost of its event.  (Small differences come from rounding.)"""
    for event, delta, reported in {(trial.event, trial.delta, trial.epsilon) for trial in trials}:
        spent = cost.one_released(event, delta)
        if spent > 1.5 * reported + 0.1:
            name = next(trial.id for trial in trials if (trial.event, trial.epsilon) == (event, reported))
            raise PrivacyError(
                f"trial {name} reports epsilon {reported:g} at delta {power(delta)} but its event costs {spent:.4g}: "
                "its result was changed, so run the trial again"
            )


def _numbered(conditions: Sequence[str]) -> list[str]:
    """Conditions as sentences, so that none is longer than a reader can hold."""
    return [f"({count}) {capital(condition)}." for count, condition in enumerate(conditions, 1)]


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _shown(epsilon: float) -> str:
    """Three digits, rounded up."""
    if not math.isfinite(epsilon) or epsilon <= 0:
        return f"{epsilon:g}"
    scale = 10.0 ** (2 - math.floor(math.log10(epsilon)))
    return f"{math.ceil(epsilon * scale - 1e-9) / scale:g}"
