"""Folders of pictures listed in ``metadata.csv`` or ``metadata.jsonl``, as Hugging Face's imagefolder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

from trilemma.data.assemble import Part, parts_by_split, split_name
from trilemma.data.readers.class_folders import FilePictures, check_inside
from trilemma.data.readers.parquet import Decoder, choose_columns
from trilemma.errors import InputError
from trilemma.hints import listed, one_line

FILES = ("metadata.csv", "metadata.jsonl")
_FILE_COLUMN = "file_name"


def metadata_files(folder: Path) -> dict[str, Path]:
    """Metadata files by split: that of the folder itself ("all"), else those of ``train/``, ``test/``, ..."""
    own = [folder / name for name in FILES if (folder / name).is_file()]
    if own:
        return {"all": own[0]}
    found: dict[str, Path] = {}
    for child in sorted(folder.iterdir()):
        split = split_name(child.name)
        for name in FILES:
            if split and (child / name).is_file():
                found.setdefault(split, child / name)
    return found


def metadata_parts(files: Mapping[str, Path], columns: Mapping[str, str] | None, decoder: Decoder) -> dict[str, Part]:
    """Decoded parts of the pictures that metadata files list.

    Columns: ``file_name`` (relative to the metadata file), ``label`` [, ``group``, ``split``]; ``columns``
    gives others these roles.  Without a split column, paths that begin with ``train/``, ``test/`` or
    ``valid/`` say it.

    Raises:
      InputError: not readable; a column is missing (those there are listed); a file is missing or leads out
        of the folder.
    """
    parts: dict[str, Part] = {}
    for name, file in files.items():
        rows = _rows(file)
        available = tuple(dict.fromkeys(key for row in rows for key in row))
        roles = {"image": _FILE_COLUMN, **(columns or {})}
        if roles["image"] not in available:
            raise InputError(
                f"{file} has no column {roles['image']!r} with the pictures' paths; its columns are {listed(available)}"
            )
        chosen = choose_columns(available, roles, str(file))
        names = [str(row.get(chosen["image"]) or "") for row in rows]
        part = Part(
            images=decoder(FilePictures(_paths(names, file)), str(file)),
            labels=[row.get(chosen["label"]) for row in rows],
            groups=[row.get(chosen["group"]) for row in rows] if "group" in chosen else None,
        )
        by_path = [split_name(PurePosixPath(path).parts[0]) for path in names]
        if name != "all":
            parts[name] = part
        elif "split" in chosen:
            parts.update(parts_by_split(part, [row.get(chosen["split"]) for row in rows], str(file)))
        elif all(by_path) and "train" in by_path:
            parts.update(parts_by_split(part, by_path, str(file)))
        else:
            parts["all"] = part
    return parts


def _rows(file: Path) -> list[dict[str, object]]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read ({one_line(error)}): save it as UTF-8 text") from None
    rows = _csv_rows(text, file) if file.suffix == ".csv" else _json_rows(text, file)
    if not rows:
        raise InputError(f"{file} lists no pictures: give a line for each")
    return rows


def _csv_rows(text: str, file: Path) -> list[dict[str, object]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows: list[dict[str, object]] = []
        for row in reader:
            if None in row:
                raise InputError(f"{file} line {reader.line_num} has more fields than the heading: quote commas")
            rows.append(dict(row))
        return rows
    except csv.Error as error:
        raise InputError(f"{file} line {reader.line_num} is not CSV ({one_line(error)})") from None


def _json_rows(text: str, file: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file} line {number} is not JSON ({one_line(error)})") from None
        if not isinstance(row, dict):
            raise InputError(f'{file} line {number} is not a JSON object: write {{"file_name": ..., ...}}')
        rows.append(row)
    return rows


def _paths(names: list[str], file: Path) -> tuple[Path, ...]:
    folder = file.parent
    root = folder.resolve()
    paths: list[Path] = []
    for row, name in enumerate(names):
        said = f"{file} row {row}: file_name {name!r}"
        if not name:
            raise InputError(f"{file} row {row} has no file_name: give the picture's path")
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).anchor or "\0" in name:
            raise InputError(f"{said} must be a path relative to {folder}")
        path = folder / name
        check_inside(path, root, said)
        if not path.is_file():
            raise InputError(f"{said} does not exist: add the picture or remove the row")
        paths.append(path)
    return tuple(paths)
