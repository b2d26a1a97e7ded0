"""Checks before the first update: data on which a run could not be measured are refused, from labels and groups alone.

A training spends time and a budget, so it must not turn out afterward that the test split cannot measure it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.checks import MINIMUM_SIDE
from trilemma.attacks.matching import matched_nonmembers
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError, PrivacyError
from trilemma.outside import resolve
from trilemma.training.recipe import Recipe
from trilemma.trial.dry_call import dry_call, without_outputs
from trilemma.trial.evaluation import evaluation_rows
from trilemma.trial.run import HISTORY, WEIGHTS, read_history

Ints = NDArray[np.int64]


def tracked_examples(track: Iterable[int], data: Dataset) -> tuple[int, ...]:
    """Indices of the training examples to track, each once, ascending.

    Raises:
      InputError: the training split has no such example.
    """
    tracked = tuple(sorted({int(index) for index in track}))
    for index in tracked:
        if not 0 <= index < len(data.train):
            raise InputError(f"cannot track example {index}: the training split has 0 to {len(data.train) - 1}")
    return tracked


def refuse_wrong_parts(recipe: Recipe, data: Dataset) -> None:
    """Refuse a recipe that names parts from outside which cannot be imported, and attacks and measures that fail.

    Raises:
      InputError: as :func:`trilemma.outside.resolve`; or an attack or a measure fails, or returns something else than
        it must.
    """
    for kind, name in recipe.from_outside:
        if kind != "models":  # a module that is given in its place has any name
            resolve(name, kind)
    if recipe.attacks or recipe.measures:
        made_up = without_outputs(data)
        dry_call(made_up, recipe.attacks, recipe.measures, seed=recipe.seed, before="the training")


def refuse_unmeasurable(data: Dataset, track: tuple[int, ...], seed: int) -> None:
    """Refuse data on which a run could be trained but not measured.

    Args:
      data: the data of the trial.
      track: training examples that every evaluation records.
      seed: the seed of the trial.

    Raises:
      InputError: a class or a group of the training split is missing from the test split, a group of the test split
        from the training split, the test split has fewer than two groups, or an attack would have too few members or
        non-members to compare.
    """
    try:
        _refuse(data, track, seed)
    except InputError as error:
        raise InputError(f"{data.source.split('; ')[0]}: {error}") from error


def _refuse(data: Dataset, track: tuple[int, ...], seed: int) -> None:
    _refuse_missing("class", data.train.labels, data.test.labels, data.classes)
    if data.test.groups is not None:
        names = data.group_names or [str(group) for group in range(int(data.test.groups.max()) + 1)]
        if data.train.groups is not None:
            _refuse_missing("group", data.train.groups, data.test.groups, names)
            _refuse_unknown_groups(data.train.groups, data.test.groups, names)
        seen = np.unique(data.test.groups)
        if len(seen) < 2:
            raise InputError(
                f"all test examples are of the group {names[int(seen[0])]!r}, so bias could not be measured: use a "
                "test split with several groups, or leave the groups out"
            )
    _refuse_too_few(data.train, data.test, seed, "")
    rows, test_rows = evaluation_rows(data, track, seed)
    # Of several copies of one image, an evaluation may keep others than the attacks at the end do.
    part = f" among the {len(rows)} and {len(test_rows)} that evaluations during training use"
    _refuse_too_few(data.train.take(rows), data.test.take(test_rows), 0, part)


def _refuse_missing(what: str, inside: Ints, outside: Ints, names: Sequence[str]) -> None:
    missing = np.setdiff1d(inside, outside)
    if len(missing):
        first, count = names[int(missing[0])], int((inside == missing[0]).sum())
        more = f", and {len(missing) - 1} more lack one" if len(missing) > 1 else ""
        raise InputError(
            f"the {what} {first!r} has {count} training examples but no test example{more}, so nothing could be "
            f"measured of it: use more test examples, or leave the {what} out"
        )


def _refuse_unknown_groups(inside: Ints, outside: Ints, names: Sequence[str]) -> None:
    unknown = np.setdiff1d(outside, inside)
    if len(unknown):
        name = names[int(unknown[0])]
        more = f", as have {len(unknown) - 1} more groups" if len(unknown) > 1 else ""
        raise InputError(
            f"the group {name!r} has {int((outside == unknown[0]).sum())} of the {len(outside)} test examples but no "
            f"training example{more}, so no attack could be measured on it: correct its name where it is misspelled, "
            "use more training examples, or leave the group out"
        )


def _refuse_too_few(train: Split, test: Split, seed: int, part: str) -> None:
    """Refuse too few members or non-members, after the same matching that the attacks will use."""
    grouped = train.groups is not None and test.groups is not None
    sources = np.arange(len(test)) if test.sources is None else test.sources
    match = matched_nonmembers(
        train.labels,
        train.groups if grouped else None,
        test.labels,
        test.groups if grouped else None,
        sources,
        seed,
    )
    members, others = int(match.covered.sum()), len(match.indices)
    if min(members, others) < MINIMUM_SIDE:
        raise InputError(
            f"the attacks could compare {members} training examples with {others} test images of the same class"
            f"{' and group' if grouped else ''}{part}, but need {MINIMUM_SIDE} of each: use more examples"
        )


def refuse_a_second_training(folder: Path, recipe: Recipe, damage: str | None) -> None:
    """Refuse to restart a training with a budget after its numbers were shown: with other noise, the budget would be
    spent twice.

    A checkpoint is written before each line of the history, so that a history without one had one.

    Args:
      folder: the folder of a run without a whole checkpoint.
      recipe: the recipe of the run.
      damage: what is wrong with its checkpoints, or None if there are none.

    Raises:
      PrivacyError: the run has shown results.
    """
    history = folder / HISTORY
    shown = history.exists() and (not history.is_file() or history.stat().st_size > 0)  # whatever became of its lines
    if recipe.private and recipe.secret_noise and (damage or shown or (folder / WEIGHTS).exists()):
        raise PrivacyError(
            f"{folder} holds results of a training but neither its checkpoints nor the record of its end: starting it "
            "again would spend the budget a second time; put them back, or use another --out and count both"
        )


def refuse_to_go_back(folder: Path, recipe: Recipe, update: int) -> None:
    """Refuse to make updates again whose evaluation was shown: where they round differently, they have other noise, and
    what was shown would be a second release.

    Args:
      folder: the folder of a run that is about to be resumed.
      recipe: the recipe of the run.
      update: how many updates its newest whole checkpoint has.

    Raises:
      InputError: the history is damaged.
      PrivacyError: the history has a line of a later update.
    """
    if not (recipe.private and recipe.secret_noise):
        return
    shown = max((line["update"] for line in read_history(folder / HISTORY)), default=0)
    if shown > update:
        raise PrivacyError(
            f"{folder} has shown results of update {shown}, and its newest whole checkpoint is of update {update}: "
            "making those updates again could spend their budget a second time; put the checkpoint back, or use "
            "another --out and count both"
        )
