"""Parquet files: which of a folder's files are which split, and their rows."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.data.decode import EncodedImages
from trilemma.data.limits import check_packing, check_size
from trilemma.data.listing import IMAGE_ENDINGS, below, children, has_ending
from trilemma.data.parts import split_name
from trilemma.data.readers.rows import encoded, recorded_names
from trilemma.errors import InputError
from trilemma.hints import listed, one_line
from trilemma.words import counted

if TYPE_CHECKING:
    import pyarrow as pa

ENDING = ".parquet"
_BATCH = 256
_VALUE = 64
"""Bytes that a label takes as an object of Python."""
_SHARD = re.compile(r"(?P<series>.*?)-(?P<number>[0-9]{5})-of-(?P<total>[0-9]{5})(?P<rest>.*)")


def parquet_splits(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Parquet files of a folder in the Hugging Face layout, by split; empty where there are none.

    Files are in the folder itself, in ``data/``, or in the one sub-folder (a configuration) that has any;
    their split is the first word of the name (``train-00000-of-00002.parquet``) or the folder they are in
    (``train/0000.parquet``).  Without either they are the split "all".

    Raises:
      InputError: two configurations; a shard that is missing, or there twice; shards of two writings; a split in two
        places.
    """
    if not folder.is_dir():
        return {}
    splits = _in_one_folder(folder)
    if not splits:
        below = {child: _in_one_folder(child) for child in children(folder) if child.is_dir()}
        below = {child: files for child, files in below.items() if files}
        if len(below) > 1:
            raise InputError(
                f"{folder} holds several configurations ({listed(child.name for child in below)}): "
                f"name the folder of one"
            )
        splits = next(iter(below.values()), {})
    return splits


def left_beside(folder: Path, tables: Mapping[str, Sequence[Path]]) -> tuple[str, ...]:
    """Notes on Parquet files and images of a folder that are not among its splits."""
    taken = {file for files in tables.values() for file in files}
    others = [file for file in below(folder) if file not in taken]
    tabled = [file for file in others if has_ending(file, ENDING)]
    images = [file for file in others if has_ending(file, *IMAGE_ENDINGS)]
    kinds = {"Parquet": (tabled, "of no split"), "image": (images, "beside Parquet")}
    return tuple(
        f"{folder}: left out: {counted(len(files), f'{kind} file')} {what}, such as {files[0].relative_to(folder)}"
        for kind, (files, what) in kinds.items()
        if files
    )


def _in_one_folder(folder: Path) -> dict[str, tuple[Path, ...]]:
    places: dict[str, list[tuple[Path, ...]]] = {}
    direct: dict[str, list[Path]] = {}
    for child in children(folder):
        if has_ending(child, ENDING) and child.is_file():
            direct.setdefault(_split_of(child), []).append(child)
        elif (split := split_name(child.name)) is not None and child.is_dir():
            files = tuple(file for file in children(child) if has_ending(file, ENDING) and file.is_file())
            if files:
                places.setdefault(split, []).append(files)
    for split, listing in direct.items():
        places.setdefault(split, []).insert(0, tuple(listing))
    for split, groups_of_files in places.items():
        if len(groups_of_files) > 1:
            raise InputError(
                f"{folder} has the split {split} in two places ({groups_of_files[0][0].relative_to(folder)}, "
                f"{groups_of_files[1][0].relative_to(folder)}): keep one of them, or every example would count twice"
            )
        _check_one_writing(groups_of_files[0], split)
    return {split: groups_of_files[0] for split, groups_of_files in places.items()}


def _split_of(file: Path) -> str:
    words = re.split(r"[-_.]", file.stem)
    splits = {split for word in words if (split := split_name(word)) is not None}
    first = split_name(words[0])
    if first is not None and len(splits) > 1:
        raise InputError(f"{file} names the splits {listed(sorted(splits))}: rename it so that it names one")
    return first or "all"


def _check_one_writing(files: Sequence[Path], split: str) -> None:
    """Refuse files of one split that may hold the same rows twice, or not all of them."""
    shards = {file: match for file in files if (match := _SHARD.fullmatch(file.stem))}
    plain = [file for file in files if file not in shards]
    series: dict[str, list[re.Match[str]]] = {}
    for match in shards.values():
        series.setdefault(match["series"], []).append(match)
    names = [file.name for file in (*plain, *shards)]
    whole = [file for file in plain if split_name(file.stem) is not None or file.stem in series]
    if (whole and len(files) > 1) or (split != "all" and (len(series) > 1 or (series and plain))):
        raise InputError(
            f"{files[0].parent} holds more than one version of the split {split} ({listed(sorted(names))}): keep one, "
            f"or examples would count twice"
        )
    for matches in series.values():
        totals = sorted({int(match["total"]) for match in matches})
        if len(totals) > 1:
            raise InputError(
                f"{files[0].parent} holds shards of two versions of one split (of {totals[0]} and of {totals[1]}): "
                f"keep those of one, or examples would count twice"
            )
        numbers = Counter(int(match["number"]) for match in matches)
        wrong = [number for number, count in numbers.items() if count > 1 or number >= totals[0]]
        if wrong:
            raise InputError(
                f"{files[0].parent} holds the shard {wrong[0]:05d} of {totals[0]} "
                + ("more than once" if numbers[wrong[0]] > 1 else "which cannot exist")
                + ": keep the shards of one version"
            )
        missing = [f"{number:05d}" for number in range(min(totals[0], 100_000)) if number not in numbers]
        if missing:
            raise InputError(
                f"{files[0].parent} lacks shard {listed(missing)} of {totals[0]}: copy the missing files there"
            )


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
        """Columns of the first file; the others must have the same.

        Raises:
          InputError: they differ in their columns, or a file cannot be read.
        """
        names: list[tuple[str, ...]] = []
        for file in self.files:
            with _parquet(file) as opened:
                names.append(tuple(opened.schema_arrow.names))
        for file, own in zip(self.files, names, strict=True):
            if sorted(own) != sorted(names[0]):
                raise InputError(
                    f"{file} has the columns {listed(own)}, but {self.files[0].name} has "
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
        """See :class:`trilemma.data.readers.rows.Rows`."""
        check_size(_VALUE * len(self), self.cap, self.where)
        check_packing(
            _VALUE * len(self), sum(file.stat().st_size for file in self.files), f"column {column!r} of {self.where}"
        )
        values: list[object] = []
        for file in self.files:
            for batch in _batches(file, column, self.cap):
                values.extend(batch.to_pylist())
        return values

    def sections(self, column: str) -> list[tuple[str, tuple[str, ...] | None, list[object]]]:
        """See :class:`trilemma.data.readers.rows.Rows`: one for each file, with what `datasets` recorded in it."""
        sections = []
        for file in self.files:
            with _parquet(file) as opened:
                names = recorded_names(opened.schema_arrow.metadata, column)
            sections.append((str(file), names, ParquetRows((file,), self.cap).values(column)))
        return sections

    def encoded_images(self, column: str) -> EncodedImages:
        """See :class:`trilemma.data.readers.rows.Rows`."""
        return _ParquetImages(self, column)


@dataclass(frozen=True)
class _ParquetImages:
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
            rows = opened.metadata.row_group(group)
            packed = sum(int(rows.column(number).total_compressed_size) for number in range(rows.num_columns))
            check_size(int(rows.total_byte_size), cap, f"row group {group} of {file}")
            check_packing(int(rows.total_byte_size), packed, f"row group {group} of {file}")
        try:
            for batch in opened.iter_batches(batch_size=_BATCH, columns=[column]):
                if batch.num_columns != 1:
                    raise InputError(f"{file} has no single column {column!r}: rename it, without a dot")
                yield batch.column(0)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{file} is damaged in column {column!r} ({one_line(error)}): fetch it again") from None
