"""Rows with a column of encoded pictures: Parquet files, and what the hub library hands over."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.data.assemble import Part, parts_by_split, split_name
from trilemma.data.decode import Pictures
from trilemma.data.limits import check_size
from trilemma.errors import InputError
from trilemma.hints import did_you_mean, listed, one_line

if TYPE_CHECKING:
    import pyarrow as pa

Decoder = Callable[[Pictures, str], NDArray[np.uint8]]
"""``decoder(pictures, what)``: pictures to uint8 (N, C, H, W), with the caller's cache, framing and cap."""

_USUAL = {
    "image": ("image", "images", "img", "picture", "pixels"),
    "label": ("label", "labels", "fine_label", "class", "target"),
    "group": ("group", "groups"),
    "split": ("split", "splits"),
}
_OPTIONAL = ("group", "split")
_BATCH = 256
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


class Rows(Protocol):
    """Rows of a table, read when they are asked for."""

    @property
    def where(self) -> str:
        """What to call the table in an error."""
        ...

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns there are."""
        ...

    def __len__(self) -> int:
        """How many rows."""
        ...

    def values(self, column: str) -> list[object]:
        """One value for each row."""
        ...

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """The names of a column's numbers, where the table records them."""
        ...

    def pictures(self, column: str) -> Pictures:
        """The encoded pictures of a column."""
        ...


def choose_columns(available: Sequence[str], columns: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """Which column is "image", "label" and, where there are any, "group" and "split".

    ``columns`` maps these roles (a plural will do) to names; for roles left out the usual names are tried.

    >>> choose_columns(("img", "fine_label", "sex"), {"group": "sex"}, "x.parquet")
    {'image': 'img', 'label': 'fine_label', 'group': 'sex'}

    Raises:
      InputError: an unknown role, a name that is not there, or no image or label column; lists what is there.
    """
    given: dict[str, str] = {}
    for role, name in (columns or {}).items():
        plain = role.lower().removesuffix("s")
        if plain not in _USUAL:
            raise InputError(f"columns names the unknown role {role!r}: the roles are {listed(_USUAL)}")
        if name not in available:
            raise InputError(
                f"{where} has no column {name!r}{did_you_mean(name, available)}; its columns are {listed(available)}"
            )
        given[plain] = name
    chosen: dict[str, str] = {}
    for role, usual in _USUAL.items():
        found = given.get(role) or next((name for name in usual if name in available), None)
        if found is not None:
            chosen[role] = found
        elif role not in _OPTIONAL:
            raise InputError(
                f"{where} has no {role} column: name one with columns={{'{role}': NAME}}; "
                f"its columns are {listed(available)}"
            )
    return chosen


def parts_of(splits: Mapping[str, Rows], chosen: Mapping[str, str], decoder: Decoder) -> dict[str, Part]:
    """Decoded parts of tables by split; a split column cuts a table that is named "all"."""
    parts: dict[str, Part] = {}
    for name, rows in splits.items():
        part = Part(
            images=decoder(rows.pictures(chosen["image"]), f"{rows.where}"),
            labels=rows.values(chosen["label"]),
            groups=rows.values(chosen["group"]) if "group" in chosen else None,
        )
        if name == "all" and "split" in chosen:
            parts.update(parts_by_split(part, rows.values(chosen["split"]), rows.where))
        else:
            parts[name] = part
    return parts


def parquet_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Parquet files of a folder in the Hugging Face layout, by split; empty where there are none.

    Files lie in the folder itself, in ``data/``, or in the one sub-folder (a configuration) that has any;
    their split is the first word of the name (``train-00000-of-00002.parquet``) or the folder they are in
    (``train/0000.parquet``).  Without either they are the split "all".

    Raises:
      InputError: two configurations, or a shard that is missing.
    """
    if not folder.is_dir():
        return {}
    found = _in_one_folder(folder)
    if not found:
        below = {child: _in_one_folder(child) for child in sorted(folder.iterdir()) if child.is_dir()}
        below = {child: files for child, files in below.items() if files}
        if len(below) > 1:
            raise InputError(
                f"{folder} holds several configurations ({listed(child.name for child in below)}): "
                f"name the folder of one"
            )
        found = next(iter(below.values()), {})
    for files in found.values():
        _check_shards(files)
    return found


def _in_one_folder(folder: Path) -> dict[str, tuple[Path, ...]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.glob("*.parquet")):
        found.setdefault(split_name(re.split(r"[-_.]", file.name)[0]) or "all", []).append(file)
    for child in sorted(folder.iterdir()):
        split = split_name(child.name)
        if split is not None and child.is_dir():
            found.setdefault(split, []).extend(sorted(child.glob("*.parquet")))
    return {split: tuple(files) for split, files in found.items() if files}


def _check_shards(files: Sequence[Path]) -> None:
    for file in files:
        if match := _SHARD.search(file.name):
            total = int(match[2])
            present = {found[1] for other in files if (found := _SHARD.search(other.name))}
            missing = [f"{number:05d}" for number in range(total) if f"{number:05d}" not in present]
            if missing:
                raise InputError(
                    f"{file.parent} lacks shard {listed(missing)} of {total}: copy the missing files there"
                )
            return


@dataclass(frozen=True)
class ParquetRows:
    """The rows of several Parquet files with the same columns, one after the other.

    Args:
      files: at least one.
      cap: most bytes that one row group may declare, and that all labels may take.
    """

    files: tuple[Path, ...]
    cap: int

    @property
    def where(self) -> str:
        """The file, or the first of several."""
        more = len(self.files) - 1
        return f"{self.files[0]}" + (f" (and {more} more)" if more else "")

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Columns of the first file; the others must have the same."""
        names: list[tuple[str, ...]] = []
        for file in self.files:
            with _parquet(file) as opened:
                names.append(tuple(opened.schema_arrow.names))
        for file, found in zip(self.files, names, strict=True):
            if set(found) != set(names[0]):
                raise InputError(
                    f"{file} has the columns {listed(found)}, but {self.files[0].name} has "
                    f"{listed(names[0])}: files of one split must agree"
                )
        return names[0]

    def __len__(self) -> int:
        total = 0
        for file in self.files:
            with _parquet(file) as opened:
                total += int(opened.metadata.num_rows)
        return total

    def values(self, column: str) -> list[object]:
        """See :class:`Rows`."""
        check_size(64 * len(self), self.cap, self.where)
        values: list[object] = []
        for file in self.files:
            for batch in _batches(file, column, self.cap):
                values.extend(batch.to_pylist())
        return values

    def class_names(self, column: str) -> tuple[str, ...] | None:
        """See :class:`Rows`: what `datasets` recorded in the file."""
        with _parquet(self.files[0]) as opened:
            return recorded_names(opened.schema_arrow.metadata, column)

    def pictures(self, column: str) -> Pictures:
        """See :class:`Rows`."""
        return _ParquetPictures(self, column)


@dataclass(frozen=True)
class _ParquetPictures:
    rows: ParquetRows
    column: str

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for file in self.rows.files:
            row = 0
            for batch in _batches(file, self.column, self.rows.cap):
                yield from encoded(batch, f"{file}", row, self.column)
                row += len(batch)

    def digest(self) -> str:
        total = hashlib.sha256(repr(self.column).encode())
        for file in self.rows.files:
            try:
                with file.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
            except OSError as error:
                raise InputError(f"{file} cannot be read ({one_line(error)})") from None
        return total.hexdigest()


def encoded(
    batch: pa.Array, where: str, first_row: int, column: str, inside: Sequence[Path] = ()
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture in an Arrow array of ``{bytes, path}`` or of raw bytes.

    A path without bytes is followed only into the folders ``inside``: a table could name any file of this
    machine.

    Raises:
      InputError: the column has another type, or a picture is missing.
    """
    import pyarrow as pa

    kind = batch.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        contents = batch.field("bytes")
        paths = batch.field("path").to_pylist() if kind.get_field_index("path") >= 0 else [None] * len(batch)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        contents, paths = batch, [None] * len(batch)
    else:
        raise InputError(
            f"{where} has no pictures in column {column!r} but {kind}: name the image column with "
            f"columns={{'image': NAME}}; it must hold encoded pictures (bytes, or bytes and path)"
        )
    for offset, (data, path) in enumerate(zip(contents, paths, strict=True)):
        name = f"{where} row {first_row + offset}" + (f" ({path})" if path else "")
        content = data.as_py() or (_inside(path, inside) if path else None)
        if not content:
            raise InputError(f"{name} holds no picture in column {column!r}: store the encoded bytes")
        yield name, content


def _inside(path: str, folders: Sequence[Path]) -> bytes | None:
    try:
        target = Path(path).resolve()
        if any(target.is_relative_to(folder.resolve()) for folder in folders):
            return target.read_bytes()
    except (OSError, ValueError):
        pass
    return None


def recorded_names(metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...] | None:
    """Class names that `datasets` wrote into an Arrow schema, None where it did not."""
    try:
        features: Any = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def _parquet(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read as Parquet ({one_line(error)}): fetch it again") from None


def _batches(file: Path, column: str, cap: int) -> Iterator[pa.Array]:
    import pyarrow as pa

    with _parquet(file) as opened:
        for group in range(opened.metadata.num_row_groups):
            # Groups are read one at a time.  All columns are counted, because asking Arrow about one column
            # of a damaged file can end the process.
            check_size(int(opened.metadata.row_group(group).total_byte_size), cap, f"row group {group} of {file}")
        try:
            for batch in opened.iter_batches(batch_size=_BATCH, columns=[column]):
                yield batch.column(0)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{file} is damaged in column {column!r} ({one_line(error)}): fetch it again") from None
