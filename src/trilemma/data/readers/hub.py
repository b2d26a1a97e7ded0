"""Data sets by their name on the Hugging Face hub, fetched by `datasets` (extra ``hub``)."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trilemma.data.decode import EncodedImages
from trilemma.data.parts import split_name
from trilemma.data.places import hub_folders
from trilemma.data.readers.rows import Rows, encoded, recorded_names
from trilemma.errors import InputError
from trilemma.hints import listed, one_line

if TYPE_CHECKING:
    import pyarrow as pa


def hub_installed() -> bool:
    """Whether the extra ``hub`` is there, without importing it."""
    spec = importlib.util.find_spec("datasets")
    return spec is not None and spec.origin is not None


def fetch(repository: str, configuration: str | None = None) -> dict[str, Rows]:
    """Every split of a hub data set, downloaded with `datasets`' own progress bars unless it is cached.

    A repository's loading script is never run.  Splits whose names are not train, test or validation keep theirs,
    unless there is only one.

    Raises:
      InputError: the extra ``hub`` is not installed, or the data set cannot be fetched; two names of one split.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{repository} is not on this machine, and fetching it needs the extra 'hub': "
            f"pip install 'trilemma[hub]', or put the files into a folder and name that "
            "with --data-dir (data_dir)"
        ) from None
    try:
        # versions before 4 could run a script that is in the repository; later ones cannot be asked to
        scripts = {"trust_remote_code": False} if int(datasets.__version__.split(".")[0]) < 4 else {}
        loaded: Any = datasets.load_dataset(repository, configuration, **scripts)
        tables = {}
        for name, split in loaded.items():
            for column, feature in split.features.items():
                if isinstance(feature, datasets.Image):
                    split = split.cast_column(column, datasets.Image(decode=False))
            metadata = split.features.arrow_schema.metadata
            tables[str(name)] = ArrowRows(
                split.with_format("arrow")[:], f"{repository} ({name})", metadata, hub_folders()
            )
    except InputError:
        raise
    except Exception as error:  # the network, the hub and `datasets` fail in too many ways to list
        raise InputError(
            f"{repository} could not be fetched from the hub ({type(error).__name__}: {one_line(error)})"
        ) from None
    if len(tables) == 1 and split_name(next(iter(tables))) is None:
        return {"all": next(iter(tables.values()))}
    splits: dict[str, Rows] = {}
    for name, rows in tables.items():
        split = split_name(name) or name
        if split in splits:
            raise InputError(f"{repository} has {split} under two names, one of them {name}: name the files of one")
        splits[split] = rows
    if not any(split_name(split) for split in splits):
        raise InputError(f"{repository} has no split named train: it has {listed(tables)}")
    return splits


@dataclass(frozen=True, eq=False)
class ArrowRows:
    """An Arrow table in memory (or mapped by `datasets`) as :class:`trilemma.data.readers.rows.Rows`.

    Attributes:
      recorded: the schema's metadata, where `datasets` keeps class names.
      inside: folders into which paths of images may lead.
    """

    table: pa.Table
    where: str
    recorded: dict[bytes, bytes] | None = None
    inside: tuple[Path, ...] = ()

    @property
    def column_names(self) -> tuple[str, ...]:
        """See :class:`trilemma.data.readers.rows.Rows`."""
        return tuple(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def values(self, column: str) -> list[object]:
        """See :class:`trilemma.data.readers.rows.Rows`."""
        return list(self.table.column(column).to_pylist())

    def sections(self, column: str) -> list[tuple[str, tuple[str, ...] | None, list[object]]]:
        """See :class:`trilemma.data.readers.rows.Rows`."""
        return [(self.where, recorded_names(self.recorded, column), self.values(column))]

    def encoded_images(self, column: str) -> EncodedImages:
        """See :class:`trilemma.data.readers.rows.Rows`."""
        return _ArrowImages(self, column)


@dataclass(frozen=True, eq=False)
class _ArrowImages:
    rows: ArrowRows
    column: str

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        row = 0
        for chunk in self.rows.table.column(self.column).chunks:
            yield from encoded(chunk, self.rows.where, row, self.column, self.rows.inside)
            row += len(chunk)

    def digest(self) -> str:
        total = hashlib.sha256(b"table")
        for _, content in self:
            total.update(hashlib.sha256(content).digest())
        return total.hexdigest()
