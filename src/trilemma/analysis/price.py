"""What a budget costs each group: accuracy lost and excess risk, compared with the same trial without a budget.

Both trials have the same data, recipe, and seed and differ in the budget alone, so that differences are paired over
seeds.  For a group a, with L the mean cross-entropy on test examples:

- accuracy lost: accuracy without a budget minus accuracy with it (Bagdasaryan and Shmatikov 2019);
- excess risk R_a = L(with the budget; a) - L(without; a), and its gap |R_a - R|, where R is the excess risk on all test
  examples (Tran, Dinh, and Fioretto 2021 compute it on the training set; here it is computed on examples that neither
  model saw).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trilemma.errors import InputError
from trilemma.files import read_json, reading
from trilemma.hints import one_line
from trilemma.study.trials import Trial
from trilemma.trial.run import CONFIG, RESULT, SIGNALS
from trilemma.trial.signals import read_signals


@dataclass(frozen=True)
class Risk:
    """The errors of one model on the test set.

    Attributes:
      loss: mean cross-entropy, in nats.
      loss_by_group: the same on the examples of each group, by its name.
      accuracy_by_group: share of each group that is classified correctly.
      counts: test examples of each group.
    """

    loss: float
    loss_by_group: dict[str, float]
    accuracy_by_group: dict[str, float]
    counts: dict[str, int]

    @classmethod
    def read(cls, run: Path) -> Risk | None:
        """The risk of a finished run, or None where its data have no groups.

        Raises:
          InputError: one of its files cannot be read.
        """
        with reading(run / RESULT):
            fairness = read_json(run / RESULT)["fairness"]
        if fairness is None:
            return None
        with reading(run / CONFIG):
            names = read_json(run / CONFIG)["data"]["groups"]
        table = read_signals(run / SIGNALS, ["member", "group", "loss"])
        try:
            outside = ~table["member"].to_numpy()
            losses = table["loss"].to_numpy()[outside].astype(np.float64)
            groups = table["group"].to_numpy()[outside].astype(np.int64)
            means = {names[group]: float(losses[groups == group].mean()) for group in np.unique(groups)}
            counts = {names[group]: int(np.count_nonzero(groups == group)) for group in np.unique(groups)}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"cannot read {run / SIGNALS} ({one_line(error)}): put the file back") from error
        return cls(float(losses.mean()), means, dict(fairness["accuracy_by_group"]), counts)


@dataclass(frozen=True)
class Price:
    """What a budget costs each group, by the group's name.

    Attributes:
      accuracy_lost: accuracy without the budget minus accuracy with it.
      excess_risk: loss with the budget minus loss without it, in nats.
      excess_risk_gap: the absolute difference from the excess risk on all test examples, in nats.
    """

    accuracy_lost: dict[str, float]
    excess_risk: dict[str, float]
    excess_risk_gap: dict[str, float]


def price_of(private: Risk, plain: Risk) -> Price:
    """The price of a budget.

    >>> plain = Risk(0.5, {"a": 0.4, "b": 0.6}, {"a": 0.9, "b": 0.8}, {"a": 10, "b": 10})
    >>> private = Risk(1.5, {"a": 1.0, "b": 2.0}, {"a": 0.8, "b": 0.5}, {"a": 10, "b": 10})
    >>> price = price_of(private, plain)
    >>> round(price.accuracy_lost["b"], 3), round(price.excess_risk["b"], 3), round(price.excess_risk_gap["b"], 3)
    (0.3, 1.4, 0.4)
    """
    names = [name for name in private.loss_by_group if name in plain.loss_by_group]
    overall = private.loss - plain.loss
    excess = {name: private.loss_by_group[name] - plain.loss_by_group[name] for name in names}
    return Price(
        {name: plain.accuracy_by_group[name] - private.accuracy_by_group[name] for name in names},
        excess,
        {name: abs(risk - overall) for name, risk in excess.items()},
    )


def without_budget(trial: Trial) -> Trial | None:
    """The same trial without a budget, or None where it has none."""
    if not trial.recipe.private:
        return None
    return replace(trial, recipe=replace(trial.recipe, epsilon=None, delta=None))
