"""Folders of images listed in ``metadata.csv`` or ``metadata.jsonl``, as Hugging Face's imagefolder."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from trilemma.data.limits import MAX_ENCODED
from trilemma.data.listing import children, images_below
from trilemma.data.parts import Part, check_split_column, needed, parts_by_split, split_name
from trilemma.data.readers.class_folders import ImageFiles, check_inside
from trilemma.data.readers.rows import Decoder, choose_columns, unused_columns
from trilemma.errors import InputError
from trilemma.files import MOST_TEXT, read_text
from trilemma.hints import listed, one_line
from trilemma.words import counted

FILES = ("metadata.csv", "metadata.jsonl")
_FILE_COLUMN = "file_name"

_Row = dict[str, object]


def metadata_files(folder: Path) -> dict[str, Path]:
    """Metadata files by split: that of the folder itself ("all"), else those of ``train/``, ``test/``, ...

    Raises:
      InputError: two of them for the same images, or a split's folder that has images and none.
    """
    own = _in_folder(folder)
    splits: dict[str, list[Path]] = {}
    for child in children(folder):
        if (split := split_name(child.name)) is not None and child.is_dir():
            splits.setdefault(split, []).append(child)
    files = {split: [file for child in folders for file in _in_folder(child)] for split, folders in splits.items()}
    files = {split: listing for split, listing in files.items() if listing}
    for listing in (own, *files.values(), [*own, *(listing[0] for listing in files.values())] if own else []):
        if len(listing) > 1:
            raise InputError(
                f"{folder} has {listing[0].relative_to(folder)} and {listing[1].relative_to(folder)}: keep one, or "
                f"images would count twice or not at all"
            )
    if own:
        return {"all": own[0]}
    if files:
        listed_in = {listing[0].parent for listing in files.values()}
        for child in (child for folders in splits.values() for child in folders):
            if child not in listed_in and next(images_below(child), None) is not None:
                raise InputError(f"{child} has images and no {FILES[0]}, which other splits have: add it")
    return {split: listing[0] for split, listing in files.items()}


def metadata_parts(
    files: Mapping[str, Path],
    columns: Mapping[str, str] | None,
    decoder: Decoder,
    *,
    folder: Path,
    test_split: str | None,
    cap: int,
) -> dict[str, Part]:
    """Decoded parts of the images that metadata files list, as far as :func:`needed`.

    Columns: ``file_name`` (relative to the metadata file), ``label`` [, ``group``, ``split``]; ``columns``
    gives others these roles.  Without a split column, paths that begin with ``train/``, ``test/`` or
    ``valid/`` say it.

    Raises:
      InputError: not readable, or larger than ``cap``; a column is missing (those there are listed), or not the same
        in all files; an image is missing, listed twice, or leads out of the folder.
    """
    listings = {split: _rows(file, columns, cap) for split, file in files.items()}
    tables = {split: rows for split, (rows, _) in listings.items()}
    paths = {split: images for split, (_, images) in listings.items()}
    notes = _not_listed(folder, paths)
    chosen, extra = needed(tables, test_split, where=str(folder))
    parts: dict[str, Part] = {}
    roles: dict[str, str] | None = None
    for split, rows in chosen.items():
        file = files[split]
        own = _columns(rows, columns, file)
        if roles is not None and own != roles:
            raise InputError(
                f"{file} has the columns {listed(own.values())}, and another split has {listed(roles.values())}: files "
                f"of one data set must agree"
            )
        roles = own
        images, image_notes = decoder(ImageFiles(paths[split]), str(file))
        part = Part(
            images=images,
            labels=[row.get(own["label"]) for row in rows],
            groups=[row.get(own["group"]) for row in rows] if "group" in own else None,
            notes=(*image_notes, *unused_columns(_available(rows), own, columns, str(file)), *notes, *extra),
        )
        parts.update(_split_up(part, rows, own, split, file))
    return parts


def _split_up(part: Part, rows: list[_Row], chosen: Mapping[str, str], split: str, file: Path) -> dict[str, Part]:
    """The part by the splits that a column, or else the images' paths, say."""
    if "split" in chosen:
        column = [row.get(chosen["split"]) for row in rows]
        if split == "all":
            return parts_by_split(part, column, str(file))
        check_split_column(column, split, str(file))
    if split != "all":
        return {split: part}
    names = [str(row.get(chosen["image"])) for row in rows]
    by_path = [split_name(PurePosixPath(name).parts[0]) if name else None for name in names]
    if not any(by_path):
        return {"all": part}
    if not all(by_path):
        raise InputError(
            f"{file} lists some images in folders of splits and others elsewhere ({names[by_path.index(None)]}): add a "
            f"split column that says train or test for each"
        )
    return parts_by_split(part, by_path, str(file))


def _in_folder(folder: Path) -> list[Path]:
    return [child for child in children(folder) if child.name.lower() in FILES and child.is_file()]


def _not_listed(folder: Path, paths: Mapping[str, tuple[Path, ...]]) -> tuple[str, ...]:
    """A note on images of the folder that no metadata file lists."""
    taken = {_resolved(path) for listing in paths.values() for path in listing}
    others = [image for image in images_below(folder) if _resolved(image) not in taken]
    if not others:
        return ()
    return (
        f"{folder}: left out: {counted(len(others), 'image')} that no metadata file lists, such as "
        f"{others[0].relative_to(folder)}",
    )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        return path


def _available(rows: list[_Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for row in rows for key in row))


def _columns(rows: list[_Row], columns: Mapping[str, str] | None, file: Path) -> dict[str, str]:
    return choose_columns(_available(rows), {"image": _FILE_COLUMN, **(columns or {})}, str(file))


def _rows(file: Path, columns: Mapping[str, str] | None, cap: int) -> tuple[list[_Row], tuple[Path, ...]]:
    """The rows and the image of each, which is looked for at once: so there are never more rows than images."""
    image = (columns or {}).get("image", _FILE_COLUMN)
    try:
        text = read_text(file, min(cap, MAX_ENCODED)).removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read ({one_line(error)}): save it as UTF-8 text") from None
    rows: list[_Row] = []
    paths: dict[Path, int] = {}
    listing: list[Path] = []
    for row in _csv_rows(text, file) if file.suffix.lower() == ".csv" else _json_rows(text, file):
        if image not in row:
            raise InputError(
                f"{file} has no column {image!r} with the images' paths in row {len(rows)}; its columns are "
                f"{listed(row)}"
            )
        path = _path(str(row[image] or ""), len(rows), file)
        earlier = paths.setdefault(path.resolve(), len(rows))
        if earlier != len(rows):
            raise InputError(
                f"{file} row {len(rows)}: file_name {str(row[image])[:200]!r} is also in row {earlier}: keep one "
                f"of them, because an image is one example"
            )
        rows.append(row)
        listing.append(path)
    if not rows:
        raise InputError(f"{file} lists no images: give a line for each")
    return rows, tuple(listing)


def _csv_rows(text: str, file: Path) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        twice = [name for name, count in Counter(reader.fieldnames or ()).items() if count > 1]
        if twice:
            raise InputError(f"{file} has more than one column {twice[0]!r}: rename all but one")
        for row in reader:
            if None in row:
                raise InputError(f"{file} line {reader.line_num} has more fields than the heading: quote commas")
            yield dict(row)
    except csv.Error as error:
        raise InputError(f"{file} line {reader.line_num} is not CSV ({one_line(error)})") from None


def _json_rows(text: str, file: Path) -> Iterator[_Row]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if not line.strip():
            continue
        try:
            if len(line) > MOST_TEXT:
                raise ValueError(f"it has {len(line)} characters")
            row = json.loads(line, object_pairs_hook=_no_key_twice)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} line {number} is not JSON ({one_line(error)})") from None
        if not isinstance(row, dict):
            raise InputError(f'{file} line {number} is not a JSON object: write {{"file_name": ..., ...}}')
        yield row


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _path(name: str, row: int, file: Path) -> Path:
    """The path of the image that a row names, which must be below the folder of the file."""
    folder = file.parent
    entry = f"{file} row {row}: file_name {name[:200]!r}"
    if not name:
        raise InputError(f"{file} row {row} has no file_name: give the image's path")
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\0" in name:
        raise InputError(f"{entry} must be a path relative to {folder}")
    path = folder / name
    check_inside(path, folder.resolve(), entry)
    if not _exists(path):
        raise InputError(f"{entry} does not exist: add the image or remove the row")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
