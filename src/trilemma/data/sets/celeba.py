"""CelebA (Liu et al. 2015): any of its 40 attributes as the target, any other as the protected one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from trilemma.data.assemble import assemble
from trilemma.data.dataset import Dataset
from trilemma.data.decode import EncodedImages, Framing
from trilemma.data.named import Named
from trilemma.data.options import Options
from trilemma.data.parts import Part, needed
from trilemma.data.places import Place, search
from trilemma.data.readers.hub import fetch
from trilemma.data.readers.parquet import ParquetRows, left_beside, parquet_splits
from trilemma.data.readers.rows import Rows, same_columns
from trilemma.data.sets.celeba_names import CELEBA_TARGET, plain_name
from trilemma.errors import InputError
from trilemma.hints import listed

FACE_CROP = 148
"""Side of the center square, in pixels of the 178×218 aligned image, that holds the face."""
DEFAULT_SIZE = 64


def find_celeba(known: Named, data_dir: Path | None) -> Place | None:
    """The folder of the set on this machine, or None."""
    return search(known.folders, _layout, repositories=known.repositories, data_dir=data_dir)


def load_celeba(known: Named, options: Options) -> Dataset:
    """Images with a target attribute as label and a protected attribute as group.

    Files that hold square images are taken as they are.  From the 178×218 originals the center square of
    148 pixels is cut and reduced to 64×64 (or ``options.size``) by Lanczos.  Official partition: train, and
    test (or valid).

    Raises:
      InputError: the data are nowhere and cannot be fetched, or lack one of the attributes.
    """
    target, protected = options.target or known.target, options.protected or known.protected
    place = find_celeba(known, options.data_dir)
    if place is None:
        splits = fetch(known.repositories[0])
        where = source = f"{known.repositories[0]} (the hub)"
        beside: tuple[str, ...] = ()
    else:
        where, source = str(place.folder), str(place)
        tables = parquet_splits(place.folder)
        beside = left_beside(place.folder, tables)
        splits = {name: ParquetRows(files, options.cap) for name, files in tables.items()}
    splits, notes = needed(splits, options.test_split, where)
    columns = next(iter(splits.values())).column_names
    asked = {
        **(options.columns or {}),
        "label": _column(target, columns, where),
        "group": _column(protected, columns, where),
    }
    chosen, unused = same_columns(splits, asked)
    framing = _framing(next(iter(splits.values())).encoded_images(chosen["image"]), options.size)
    decoder = options.decoder(framing)
    parts = {}
    for name, rows in splits.items():
        images, changed = decoder(rows.encoded_images(chosen["image"]), rows.where)
        labels, groups = _truths(rows, chosen["label"]), _truths(rows, chosen["group"])
        parts[name] = Part(images=images, labels=labels, groups=groups, notes=changed)
    if framing.size is not None:
        source += f"; center {framing.crop} pixels reduced to {framing.size}×{framing.size}"
    return assemble(
        known.name,
        parts,
        source=source,
        where=where,
        class_names=(f"not {target}", target),
        group_names=(f"not {protected}", protected),
        seed=options.seed,
        test_split=options.test_split,
        flips=known.flips,
        shift=known.shift,
        notes=(*notes, *beside, *unused),
    )


def count_celeba(known: Named, place: Place) -> dict[str, int]:
    """Number of examples by split, without decoding any."""
    return {name: len(ParquetRows(files, cap=2**62)) for name, files in parquet_splits(place.folder).items()}


def _layout(folder: Path, named: bool) -> str | None:
    files = parquet_splits(folder) if named else {"all": tuple(sorted(folder.glob("*.parquet")))}
    if not named and not files["all"]:
        files = {"all": tuple(sorted(folder.glob("data/*.parquet")))}
    first = next((split[0] for split in files.values() if split), None)
    if first is None:
        return None
    return "Parquet" if named or CELEBA_TARGET in ParquetRows((first,), cap=2**62).column_names else None


def _framing(encoded: EncodedImages, size: int | None) -> Framing:
    if size is None:
        from PIL import Image

        name, content = next(iter(encoded))
        try:
            with Image.open(io.BytesIO(content)) as image:
                if image.width == image.height:
                    return Framing()
        except Exception:
            raise InputError(f"{name} cannot be read as an image: replace or remove it") from None
    return Framing(size or DEFAULT_SIZE, FACE_CROP)


def _column(name: str, columns: Sequence[str], where: str) -> str:
    for column in columns:
        if plain_name(column) == plain_name(name):
            return column
    raise InputError(f"{where} has no attribute {name}: its columns are {listed(columns)}")


def _truths(rows: Rows, column: str) -> list[object]:
    """0 or 1 for each row; the attributes are stored as booleans, or as -1 and 1."""
    truths: list[object] = []
    for row, value in enumerate(rows.values(column)):
        if not isinstance(value, (bool, int)) or value not in (-1, 0, 1):
            raise InputError(f"{rows.where} has {value!r} as {column} in row {row}: it must be true or false")
        truths.append(int(value > 0))
    return truths
