"""Turns the parts that a source holds into a `Dataset`: which is for training, which for testing, and whether they
fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trilemma.data.dataset import Dataset, Split
from trilemma.data.decode import SMALLEST_SIDE
from trilemma.data.labels import Coded, code
from trilemma.data.named import NEUTRAL
from trilemma.data.orders import stratified_order
from trilemma.data.parts import Part, needed
from trilemma.errors import InputError
from trilemma.hints import listed

TEST_SHARE = 0.2


def assemble(
    name: str,
    parts: Mapping[str, Part],
    *,
    source: str,
    where: str,
    class_names: tuple[str, ...] | None = None,
    group_names: tuple[str, ...] | None = None,
    seed: int = 0,
    test_split: str | None = None,
    flips: bool = True,
    shift: int | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """A data set from the parts named "train", "test", "valid" or "all" (no split known).

    Tests with ``test_split`` if it is given, else with "test", else with "valid"; where there is none of
    these, a fifth of the examples, stratified by class (and group) and drawn from ``seed``, is set aside, and
    ``source`` and a note say so.  Normalization uses mean ½ and std ½, which depend on no image.

    Args:
      name, source: as in :class:`Dataset`.
      parts: at least "train" or "all".
      where: the source in error messages.
      class_names, group_names: known names; None: the values that occur.
      seed: the seed of the test split, where one is drawn.
      test_split: "test" or "valid".
      flips: as in :class:`Dataset`.
      shift: as in :class:`Dataset`; None: an eighth of the shorter side, from 1 to 4 pixels.
      notes: about the source, in addition to those of its parts.

    Raises:
      InputError: there is no training example; lengths differ; there are fewer than two classes or groups; only the
        test split has some class; only one split has groups; images differ in size or are too small.
    """
    parts, unused = needed(parts, test_split, where)
    train, test, was_drawn = _train_and_test(parts, where=where, names=class_names, seed=seed, test_split=test_split)
    for part in (train, test):
        for what, values in (("labels", part.labels), ("groups", part.groups)):
            if values is not None and len(values) != len(part.images):
                raise InputError(
                    f"{where} has {len(part.images)} images but {len(values)} {what}: they must be of equal length"
                )
    *images, recolored = _same_form(train.images, test.images, where)
    labels = code([train.labels, test.labels], names=class_names, what="label", where=where)
    classes = _classes_with_examples(labels, known=class_names is not None, where=where)
    if (train.groups is None) != (test.groups is None):
        raise InputError(f"{where} has groups in only one split: give them in both, or in neither")
    groups = None
    if train.groups is not None and test.groups is not None:
        groups = code([train.groups, test.groups], names=group_names, what="group", where=where)
        if len(groups.names) < 2:
            raise InputError(
                f"{where} has only one group ({listed(groups.names)}): a comparison needs at "
                f"least two; add another, or leave the group out"
            )
    channels, height, width = images[0].shape[1:]
    drawn = (_set_aside(len(train.images), len(test.images), where, seed),) if was_drawn else ()
    all_notes = (*notes, *drawn, *unused, *train.notes, *test.notes, *recolored, *labels.notes, *classes)
    return Dataset(
        name=name,
        train=Split(images[0], labels.codes[0], None if groups is None else groups.codes[0]),
        test=Split(images[1], labels.codes[1], None if groups is None else groups.codes[1]),
        classes=labels.names,
        group_names=None if groups is None else groups.names,
        mean=NEUTRAL * channels,
        std=NEUTRAL * channels,
        flips=flips,
        shift=max(1, min(4, min(height, width) // 8)) if shift is None else shift,
        source=source
        + (f"; {TEST_SHARE:.0%} set aside for testing, stratified by class, seed {seed}" if was_drawn else ""),
        notes=tuple(dict.fromkeys(all_notes if groups is None else (*all_notes, *groups.notes))),
    )


def _set_aside(train: int, test: int, where: str, seed: int) -> str:
    """A note on a test split that the source does not have."""
    return (
        f"{where} has no split named test or valid: {test:,} of its {train + test:,} examples are set aside for "
        f"testing, stratified by class, seed {seed}"
    )


def _classes_with_examples(labels: Coded, known: bool, where: str) -> tuple[str, ...]:
    """A note on classes without training examples; such classes are refused where their names were not known."""
    if len(labels.names) < 2:
        raise InputError(f"{where} has only one class ({listed(labels.names)}): a classifier needs at least two")
    train, test = labels.codes
    if not known:
        unseen = np.setdiff1d(test, train)
        if unseen.size:
            raise InputError(
                f"{where} has test examples of classes without training examples "
                f"({listed(labels.names[label] for label in unseen)}): add some or remove these"
            )
    empty = np.setdiff1d(np.arange(len(labels.names)), train)
    if not empty.size:
        return ()
    if empty.size > len(labels.names) - 2:
        raise InputError(f"{where} has training examples of only one label: a classifier needs at least two classes")
    names = listed(labels.names[label] for label in empty)
    return (f"{where}: {empty.size} of its {len(labels.names)} classes have no training example ({names})",)


def limited(data: Dataset, limit: int | None, test_limit: int | None, seed: int) -> Dataset:
    """The data set with only the first ``limit`` training (and ``test_limit`` test) examples.

    "First" is in a seeded stratified order (:func:`trilemma.data.orders.stratified_order`), so the subset
    keeps the mix of classes (and groups), and a smaller one is contained in a larger one.  The subset keeps the
    order of the source.

    Which positions of the source the subset consists of (:func:`limited_rows`) is public.  The order assigns positions
    with exact counts per class, so drawing it again without one example would exchange other examples.  A neighbor is
    therefore the subset without one example, not the subset that would be drawn from a source without it.

    Raises:
      InputError: a limit is smaller than the number of classes that the split has.
    """
    return replace(
        data,
        train=_first(data.train, limit, seed, "limit"),
        test=_first(data.test, test_limit, seed, "test limit"),
    )


def limited_rows(split: Split, limit: int, seed: int, what: str = "limit") -> NDArray[np.int64]:
    """The rows of ``split`` that :func:`limited` keeps, int64 (limit,), ascending.

    Args:
      what: "limit" for a training split, "test limit" for a test split: what the order is drawn for.

    Raises:
      InputError: the limit is smaller than the number of classes that the split has.
    """
    needed = len(np.unique(split.labels))
    if limit < needed:
        raise InputError(f"the {what} of {limit} leaves classes without examples: give at least {needed}")
    return np.sort(stratified_order(split.labels, split.groups, seed, what)[:limit])


def _first(split: Split, limit: int | None, seed: int, what: str) -> Split:
    if limit is None or limit >= len(split):
        return split
    return split.take(limited_rows(split, limit, seed, what))


def _train_and_test(
    parts: Mapping[str, Part],
    *,
    where: str,
    names: tuple[str, ...] | None,
    seed: int,
    test_split: str | None,
) -> tuple[Part, Part, bool]:
    train = parts.get("train")
    if train is None:
        train = parts.get("all")
    if train is None or len(train.images) == 0:
        raise InputError(f"{where} has no training examples (only {listed(parts)}): add a split or folder named train")
    for name in (test_split,) if test_split else ("test", "valid"):
        if name in parts and len(parts[name].images):
            return train, parts[name], False
    if test_split is not None:
        raise InputError(f"{where} has no split {test_split!r}: it has {listed(parts)}")
    if len(train.labels) != len(train.images):
        return train, train, False  # the caller says that lengths differ
    coded = code([train.labels], names=names, what="label", where=where)
    labels, classes = coded.codes[0], coded.names
    counts = np.bincount(labels)
    few = np.flatnonzero(counts == 1)
    if few.size:
        raise InputError(
            f"{where} has only one example of {listed(classes[label] for label in few)}: each class needs at "
            f"least two, one of them to be set aside for testing; add some, or a split named test"
        )
    groups = None
    if train.groups is not None and len(train.groups) == len(train.images):
        groups = code([train.groups], what="group", where=where).codes[0]
    order = stratified_order(labels, groups, seed, "test split")
    cut = max(np.count_nonzero(counts), round(TEST_SHARE * len(labels)))
    return train.take(np.sort(order[cut:])), train.take(np.sort(order[:cut])), True


def _same_form(
    train: NDArray[np.uint8], test: NDArray[np.uint8], where: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[str, ...]]:
    """Both splits with one size and one number of channels: color if either is, which is noted."""
    if train.shape[2:] != test.shape[2:]:
        raise InputError(
            f"{where} has training images of {train.shape[3]}×{train.shape[2]} and test images of "
            f"{test.shape[3]}×{test.shape[2]} pixels: resize all of them to one size"
        )
    if min(train.shape[2:]) < SMALLEST_SIDE:
        raise InputError(
            f"{where} has images of {train.shape[3]}×{train.shape[2]} pixels: the smallest that can be used "
            f"is {SMALLEST_SIDE}×{SMALLEST_SIDE}"
        )
    if train.shape[1] != test.shape[1]:
        gray = "training" if train.shape[1] == 1 else "test"
        count = len(train) if train.shape[1] == 1 else len(test)
        train, test = (np.repeat(part, 3, axis=1) if part.shape[1] == 1 else part for part in (train, test))
        return train, test, (f"{where}: {count} gray {gray} images are given three channels, as others are in color",)
    return train, test, ()
