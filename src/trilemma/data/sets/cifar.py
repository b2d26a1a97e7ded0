"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): Parquet, the original binary archives, or folders of images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trilemma.data.assemble import assemble
from trilemma.data.dataset import Dataset
from trilemma.data.limits import check_size
from trilemma.data.named import Named
from trilemma.data.options import Options
from trilemma.data.parts import Part, needed
from trilemma.data.places import Place, search
from trilemma.data.readers.class_folders import folder_parts, scan
from trilemma.data.readers.hub import fetch
from trilemma.data.readers.parquet import ParquetRows, left_beside, parquet_splits
from trilemma.data.readers.rows import Rows, parts_of, recorded, same_columns
from trilemma.data.sets.cifar_names import CIFAR100_COARSE, CIFAR100_TARGETS
from trilemma.errors import InputError
from trilemma.hints import listed, one_line

_PIXELS = 3 * 32 * 32
_COARSE = "coarse_label"


@dataclass(frozen=True)
class _Layout:
    """What tells files with one label from those with a fine and a coarse one.

    Attributes:
      label: name of the label column in Parquet files.
      prefix: bytes before the pixels of a binary record; the last is the label, one before it the coarse label.
      files: names of the binary files by split.
    """

    label: str
    prefix: int
    files: dict[str, tuple[str, ...]]

    @property
    def record(self) -> int:
        """Bytes of one record in the binary files."""
        return self.prefix + _PIXELS


_ONE_LABEL = _Layout(
    label="label",
    prefix=1,
    files={"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
)
_FINE_AND_COARSE = _Layout(label="fine_label", prefix=2, files={"train": ("train.bin",), "test": ("test.bin",)})


def _layout(known: Named) -> _Layout:
    return _FINE_AND_COARSE if known.targets == CIFAR100_TARGETS else _ONE_LABEL


def find_cifar(known: Named, data_dir: Path | None) -> Place | None:
    """Where the set is on this machine; None if it is not there.

    Raises:
      InputError: only the pickled archive is there.
    """
    return search(
        known.folders,
        lambda folder, named: _recognized(known, folder, named),
        repositories=known.repositories,
        pickled=known.pickled,
        data_dir=data_dir,
    )


def load_cifar(known: Named, options: Options) -> Dataset:
    """The set from where :func:`find_cifar` finds it, else downloaded.

    ``target="coarse"`` (or ``columns={"label": "coarse_label"}``) gives CIFAR-100 its 20 coarse classes.

    Raises:
      InputError: it is nowhere and cannot be fetched; files are missing or damaged; labels out of range; a target
        together with a label column.
    """
    asked = _label_of(options)
    place = find_cifar(known, options.data_dir)
    columns = {"label": _layout(known).label, **(options.columns or {}), **asked}
    coarse = columns["label"] == _COARSE
    classes = CIFAR100_COARSE if coarse else known.classes
    notes: tuple[str, ...] = ()
    if place is None:
        parts, notes = _table_parts(dict(fetch(known.repositories[0])), columns, options)
        where = source = f"{known.repositories[0]} (the hub)"
    else:
        where, source = str(place.folder), str(place)
        if place.layout.startswith("Parquet"):
            tables = parquet_splits(place.folder)
            rows: dict[str, Rows] = {name: ParquetRows(files, options.cap) for name, files in tables.items()}
            parts, notes = _table_parts(rows, columns, options)
            notes += left_beside(place.folder, tables)
        elif place.layout.startswith("binary"):
            if options.size is not None:
                raise InputError("size does not apply to the binary archive: its images are 32×32")
            files = _layout(known).files
            parts = {split: _binary_part(known, place.folder, split, coarse, options.cap) for split in files}
        else:
            listings, notes = needed(scan(place.folder), options.test_split, where)
            parts = folder_parts(listings, place.folder, options.decoder())
    data = assemble(
        known.name,
        parts,
        source=source,
        where=where,
        class_names=classes,
        seed=options.seed,
        test_split=options.test_split,
        flips=known.flips,
        shift=known.shift,
        notes=notes,
    )
    if data.image_shape[0] != 3:
        raise InputError(f"{where} holds gray images, and {known.name} is in color: name the folder by its path")
    return replace(data, mean=known.mean, std=known.std)


def _label_of(options: Options) -> dict[str, str]:
    """The label column that a target asks for, if it asks for one."""
    if options.target in (None, CIFAR100_TARGETS[0]):
        return {}
    if "label" in (options.columns or {}):
        raise InputError("target and a label column both choose the labels: leave one out")
    return {"label": _COARSE}


def count_cifar(known: Named, place: Place) -> dict[str, int]:
    """Number of examples by split, without decoding any."""
    if place.layout.startswith("Parquet"):
        return {name: len(ParquetRows(files, cap=2**62)) for name, files in parquet_splits(place.folder).items()}
    if place.layout.startswith("binary"):
        layout = _layout(known)
        return {
            split: sum(file.stat().st_size for file in _binary_files(place.folder, names)) // layout.record
            for split, names in layout.files.items()
        }
    return {name: len(part.paths) for name, part in scan(place.folder).items()}


def _recognized(known: Named, folder: Path, named: bool) -> str | None:
    if any((folder / name).is_file() for names in _layout(known).files.values() for name in names):
        return "binary archive"
    if named:
        if parquet_splits(folder):
            return "Parquet"
    elif files := sorted(folder.glob("*.parquet")) or sorted(folder.glob("*/*.parquet")):
        columns = ParquetRows((files[0],), cap=2**62).column_names
        if _layout(known).label in columns and {"img", "image"} & set(columns):
            return "Parquet"
    train = folder / "train"
    if train.is_dir() and _speaks_for(known, {child.name for child in train.iterdir() if child.is_dir()}, named):
        return "folder of images"
    return None


def _speaks_for(known: Named, names: set[str], named: bool) -> bool:
    """Whether class folders are this set's: all by name, or, in a folder of the set's name, any at all."""
    return bool(names) and (named or names <= set(known.classes))


def _table_parts(
    splits: dict[str, Rows], columns: dict[str, str], options: Options
) -> tuple[dict[str, Part], tuple[str, ...]]:
    splits, unused = needed(splits, options.test_split, "the tables")
    chosen, beside = same_columns(splits, columns)
    names, differing = recorded(splits, chosen["label"], "label")
    parts = parts_of(splits, chosen, options.decoder(), {} if names is None else {chosen["label"]: names})
    return parts, (*unused, *beside, *differing)


def _binary_files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} lacks {listed(missing)}: unpack the whole archive there")
    return [folder / name for name in names]


def _binary_part(known: Named, folder: Path, split: str, coarse: bool, cap: int) -> Part:
    """Records of label bytes and 3,072 pixel bytes (red, green, blue planes), from all files of a split."""
    if coarse and _layout(known).prefix < 2:
        raise InputError(f"{known.name} has no coarse labels: leave the label column out")
    files = _binary_files(folder, _layout(known).files[split])
    sizes = [file.stat().st_size for file in files]
    check_size(sum(sizes), cap, f"{folder} ({split})")
    for file, size in zip(files, sizes, strict=True):
        if size == 0 or size % _layout(known).record:
            raise InputError(
                f"{file} is not whole: its {size} bytes are not records of {_layout(known).record}; unpack it again"
            )
    try:
        records = np.concatenate([np.fromfile(file, dtype=np.uint8) for file in files])
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({one_line(error)})") from None
    records = records.reshape(-1, _layout(known).record)
    return Part(
        images=np.ascontiguousarray(records[:, _layout(known).prefix :]).reshape(-1, 3, 32, 32),
        labels=records[:, _layout(known).prefix - (2 if coarse else 1)].tolist(),
    )
