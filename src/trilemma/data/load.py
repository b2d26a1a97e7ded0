"""`load_data`: a `Dataset` from a name, a path, or the name of a hub data set."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trilemma.data.assemble import assemble, limited
from trilemma.data.dataset import Dataset
from trilemma.data.duplicates import duplicate_notes
from trilemma.data.listing import children, has_ending
from trilemma.data.named import NAMED
from trilemma.data.options import Options, checked_options
from trilemma.data.parts import needed
from trilemma.data.places import hub_snapshot
from trilemma.data.readers.class_folders import folder_parts, is_pickle_file, scan
from trilemma.data.readers.hub import fetch
from trilemma.data.readers.imagefolder import metadata_files, metadata_parts
from trilemma.data.readers.npz import read_npz
from trilemma.data.readers.parquet import ParquetRows, left_beside, parquet_splits
from trilemma.data.readers.rows import Rows, parts_of, recorded, same_columns
from trilemma.data.sets.catalog import READERS
from trilemma.data.sets.skew import skewed
from trilemma.errors import DataWarning, InputError, check_type
from trilemma.hints import did_you_mean, listed, one_line
from trilemma.outside import called, is_outside, resolve
from trilemma.progress import Progress
from trilemma.words import clean

_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(:(?P<configuration>[\w.-]+))?\Z")


def load_data(
    name: str | os.PathLike[str],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    skew: float | None = None,
    classes_seed: int | None = None,
    target: str | None = None,
    protected: str | None = None,
    columns: Mapping[str, str] | None = None,
    size: int | None = None,
    test_split: str | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    seed: int = 0,
    flips: bool | None = None,
    shift: int | None = None,
    memory_gib: float | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load images with labels and, where there are any, groups, ready to train on.

    >>> data = load_data("digits-s", skew=0.9)
    >>> data.train.images.shape, data.test.images.shape, data.group_names
    ((1297, 3, 8, 8), (1000, 3, 8, 8), ('colour', 'gray'))

    Args:
      name: a named set (an entry of :data:`trilemma.data.named.NAMED`, such as ``digits-s`` or ``cifar10``).  Or a
        folder (of class folders, with ``metadata.csv`` or ``.jsonl``, or of Parquet files), a ``.npz`` or
        ``.parquet`` file.  Or a hub name ``owner/name[:configuration]`` (extra ``hub``).  Or ``module:name`` of a
        function that returns a :class:`Dataset`, to which the options of files do not apply.
      data_dir: first place to look for a set that is not installed with the package, before $TRILEMMA_DATA,
        ../shared/data, the Hugging Face cache and a download.
      skew: for skewed sets: share of a class's training examples in its dominant group.
      classes_seed: for skewed sets that take it: draw which half of the classes is mostly in color; None: the odd ones.
      target, protected: for sets with a choice of labels (``targets`` of their entry): what gives the label, and the
        attribute that gives the group.
      columns: which column (or array) is "image", "label", "group" and "split", where names are unusual.
      size: cut the center square of every image and resize it to this many pixels a side.
      test_split: "test" or "valid"; None: test, else valid, else a stratified fifth set aside.
      limit, test_limit: keep that many training (test) examples, the first in a seeded stratified order;
        taken before any skew, so that counts per class and group are exact.  A skewed set then tests each of the
        ``test_limit`` images twice, in color and in gray.  Without ``test_limit`` the whole
        test split stays.
      seed: the seed of the skew, the limits and a test split that has to be drawn.  It belongs to the data and not to
        a training, so that trainings with different seeds see the same images.
      flips, shift: how views may differ (see :class:`Dataset`), where the defaults are wrong.
      memory_gib: refuse data that decode to more (default: $TRILEMMA_MEMORY_GIB, else 4).
      progress: called as ``progress(what, done, total)`` while images are decoded.

    Returns:
      A :class:`Dataset`; images may be read-only memory maps of the cache.

    Raises:
      InputError: the name, an option or the data cannot be used; the message says why, and how to mend it.
    """
    check_type("the name of the data", name, (str, os.PathLike), "a name, a path, or module:name")
    text = os.fspath(name)
    known = NAMED.get(text)
    options = checked_options(
        text,
        {
            "data_dir": data_dir,
            "skew": skew,
            "classes_seed": classes_seed,
            "target": target,
            "protected": protected,
            "columns": columns,
            "size": size,
            "test_split": test_split,
            "limit": limit,
            "test_limit": test_limit,
            "seed": seed,
            "flips": flips,
            "shift": shift,
            "memory_gib": memory_gib,
            "progress": progress,
        },
    )
    data = READERS[known.reader].load(known, options) if known else _elsewhere(text, options)
    data = limited(data, options.limit, options.test_limit, options.seed)
    data = replace(data, notes=(*data.notes, *duplicate_notes(data)))
    for note in data.notes:
        warnings.warn(clean(note), DataWarning, stacklevel=2)
    if known and known.skew is not None:
        share = known.skew if options.skew is None else options.skew
        data = skewed(data, name=text, skew=share, classes_seed=options.classes_seed, seed=options.seed)
    return replace(_with_views(data, options.flips, options.shift), request={"name": text} | options.chosen())


def _with_views(data: Dataset, flips: bool | None, shift: int | None) -> Dataset:
    """The data with views as the caller wants them, where the data's own defaults are wrong."""
    side = min(data.image_shape[1:])
    if shift is not None and shift > side:
        raise InputError(f"shift must be at most the image's side of {side} pixels, not {shift}")
    return replace(data, flips=data.flips if flips is None else flips, shift=data.shift if shift is None else shift)


def _elsewhere(text: str, options: Options) -> Dataset:
    """A data set from outside by ``module:name``, a folder, a file or a hub name."""
    if is_outside(text, "data"):
        return _outside(text)
    path = Path(text).expanduser()
    try:
        if not path.exists() and options.data_dir is not None:
            path = options.data_dir / path
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"{text[:200]!r} cannot be looked up ({one_line(error)}): correct the path") from None
    if is_folder:
        return _folder(path, options)
    if exists:
        return _file(path, options)
    hub = _HUB_NAME.match(text)
    if hub is not None and not Path(text).parent.exists() and not has_ending(path, ".npz", ".parquet"):
        return _hub(hub["repository"], hub["configuration"], options)
    if path.suffix or os.sep in text:
        raise InputError(f"there is no file or folder {text}: correct the path")
    raise InputError(
        f"unknown data {text!r}{did_you_mean(text, NAMED)}: no data set, folder or file has this name; choose "
        f"{listed(NAMED)}, or give the path of a folder, a .npz or .parquet file, or a hub data set OWNER/NAME"
    )


def _outside(text: str) -> Dataset:
    """What a function of the user's own returns."""
    data = called(text, resolve(text, "data"))
    if not isinstance(data, Dataset):
        raise InputError(f"{text!r} returned an object of type {type(data).__name__}: return a trilemma.Dataset")
    return replace(data, name=text, source=data.source or text)


def _file(path: Path, options: Options) -> Dataset:
    if not path.is_file():
        raise InputError(f"{path} is neither a file nor a folder: correct the path")
    if has_ending(path, ".parquet"):
        return _tables({"all": ParquetRows((path,), options.cap)}, path.stem, f"{path} (Parquet)", options)
    if has_ending(path, ".npz"):
        if options.size is not None:
            raise InputError(f"size does not apply to arrays: resize the images before they go into {path}")
        arrays = read_npz(path, options.columns, options.cap)
        return assemble(
            path.stem,
            arrays.parts,
            source=f"{path} (arrays)",
            where=str(path),
            class_names=arrays.class_names,
            group_names=arrays.group_names,
            seed=options.seed,
            test_split=options.test_split,
            notes=arrays.notes,
        )
    if is_pickle_file(path):
        raise InputError(
            f"{path} is a pickle, and reading it could run any code that its author put there: save the arrays with "
            f"numpy.savez(images=..., labels=...)"
        )
    raise InputError(f"{path} is not a kind of file that can be read: give a folder, a .npz or a .parquet file")


def _folder(path: Path, options: Options) -> Dataset:
    name = path.resolve().name
    files = metadata_files(path)
    tables = parquet_splits(path)
    if files and tables:
        raise InputError(
            f"{path} holds {next(iter(files.values())).relative_to(path)} and Parquet files: keep one of the two, or "
            f"name the folder of one"
        )
    if tables:
        rows: dict[str, Rows] = {split: ParquetRows(part, options.cap) for split, part in tables.items()}
        return _tables(rows, name, f"{path} (Parquet)", options, left_beside(path, tables))
    if any(has_ending(child, ".bin") for child in children(path)):
        raise InputError(
            f"{path} holds binary files: for a CIFAR archive give the name cifar10 or cifar100, and this folder as "
            f"data_dir={str(path)!r} (--data-dir {path})"
        )
    notes: tuple[str, ...] = ()
    if files:
        parts = metadata_parts(
            files, options.columns, options.decoder(), folder=path, test_split=options.test_split, cap=options.cap
        )
    else:
        if options.columns:
            raise InputError(f"columns does not apply to {path}: class folders have no columns; leave it out")
        listings, notes = needed(scan(path), options.test_split, str(path))
        parts = folder_parts(listings, path, options.decoder())
    return assemble(
        name,
        parts,
        source=f"{path} (images)",
        where=str(path),
        seed=options.seed,
        test_split=options.test_split,
        notes=notes,
    )


def _hub(repository: str, configuration: str | None, options: Options) -> Dataset:
    snapshot = None if configuration else hub_snapshot(repository)
    if snapshot is not None:
        try:
            tables = parquet_splits(snapshot)
        except InputError:
            tables = {}  # several configurations, or a download that was cut short: the hub library decides
        if tables:
            rows: dict[str, Rows] = {split: ParquetRows(part, options.cap) for split, part in tables.items()}
            source = f"{repository} (the hub's cache)"
            return _tables(rows, repository, source, options, left_beside(snapshot, tables))
    return _tables(fetch(repository, configuration), repository, f"{repository} (the hub)", options)


def _tables(
    splits: Mapping[str, Rows], name: str, source: str, options: Options, notes: tuple[str, ...] = ()
) -> Dataset:
    splits, unused = needed(splits, options.test_split, source)
    chosen, beside = same_columns(splits, options.columns)
    names: dict[str, tuple[str, ...]] = {}
    for role in ("label", "group"):
        if role in chosen:
            own, about_names = recorded(splits, chosen[role], role)
            names |= {} if own is None else {chosen[role]: own}
            notes += about_names
    return assemble(
        name,
        parts_of(splits, chosen, options.decoder(), names),
        source=source,
        where=next(iter(splits.values())).where,
        class_names=names.get(chosen["label"]),
        group_names=names.get(chosen["group"]) if "group" in chosen else None,
        seed=options.seed,
        test_split=options.test_split,
        notes=(*notes, *unused, *beside),
    )
