"""Attacks and measures from outside are called once on made-up outputs, before hours are spent on real ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from trilemma.attacks import Predictions
from trilemma.attacks.named import single_model_scores
from trilemma.attacks.signals import read_signals
from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.outside import is_outside, resolve
from trilemma.seeds import rng_for
from trilemma.trial.measure import own_measure, predictions_of

_TRIED = 1000
"""At most so many members and so many non-members are used."""


def without_outputs(data: Dataset) -> Predictions:
    """The predictions that a model of these data will have, with logits of 0."""
    shapes = ((len(split), len(data.classes)) for split in (data.train, data.test))
    return predictions_of(data, *(np.zeros(shape, np.float32) for shape in shapes))


def dry_call(
    like: Predictions, attacks: Sequence[str], measures: Sequence[str] = (), *, seed: int, before: str, shadows: int = 0
) -> None:
    """Call the attacks and measures from outside once.

    Args:
      like: labels, members and groups of the predictions to come; its logits are replaced by random numbers.
      attacks: names; those of the package's own attacks are passed over.
      measures: names of measures from outside.
      seed: of the made-up outputs.
      before: what they are tried before, for the message.
      shadows: how many reference models the predictions will have, an even number; each of a pair is said to be trained
        on the examples that the other was not trained on.

    Raises:
      InputError: one cannot be imported, fails, or returns something else than it must.
    """
    attacks = [name for name in attacks if is_outside(name, "attacks")]
    if not attacks and not measures:
        return
    for name in attacks:
        resolve(name, "attacks")
    rng = rng_for(seed, "made-up outputs")
    sides = (np.flatnonzero(like.member == inside) for inside in (True, False))
    rows = np.concatenate([rng.permutation(side)[:_TRIED] for side in sides])
    shape = (len(rows), like.classes)
    changed: dict[str, Any] = {"logits": rng.normal(size=shape).astype(np.float32)}
    if shadows:
        halves = rng.random((shadows // 2, len(rows))) < 0.5
        changed["reference_logits"] = rng.normal(size=(shadows, *shape)).astype(np.float32)
        changed["reference_member"] = np.stack([halves, ~halves], axis=1).reshape(shadows, len(rows))
    for name in ("labels", "member", "groups", "sources", "weights"):
        values = getattr(like, name)
        changed[name] = None if values is None else values[rows]
    predictions = replace(like, **changed)
    try:
        for name in attacks:
            single_model_scores(name, predictions, read_signals(predictions), rng)
        for name in measures:
            own_measure(name, predictions)
    except InputError as error:
        raise InputError(f"{error}; it was tried on made-up outputs before {before}") from error
