"""Rows with a column of encoded images: what Parquet files and the hub library have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trilemma.data.decode import EncodedImages
from trilemma.data.labels import by_name, check_names
from trilemma.data.parts import Part, check_split_column, parts_by_split
from trilemma.errors import InputError
from trilemma.hints import did_you_mean, listed

if TYPE_CHECKING:
    import pyarrow as pa

Decoder = Callable[[EncodedImages, str], tuple[NDArray[np.uint8], tuple[str, ...]]]
"""``decoder(encoded, what)``: images to uint8 (N, C, H, W) and what was converted, with the caller's cache, framing
and cap."""

_USUAL = {
    "image": ("image", "images", "img", "picture", "pixels"),
    "label": ("label", "labels", "fine_label", "class", "target"),
    "group": ("group", "groups"),
    "split": ("split", "splits"),
}
_OPTIONAL = ("group", "split")


class Rows(Protocol):
    """Rows of a table, read when they are asked for."""

    @property
    def where(self) -> str:
        """What to call the table in an error."""
        ...

    @property
    def column_names(self) -> tuple[str, ...]:
        """The table's columns."""
        ...

    def __len__(self) -> int:
        """How many rows."""
        ...

    def values(self, column: str) -> list[object]:
        """One value for each row, as it is stored."""
        ...

    def sections(self, column: str) -> list[tuple[str, tuple[str, ...] | None, list[object]]]:
        """Pieces of a column, each with where it comes from and the names that are recorded there for its numbers."""
        ...

    def encoded_images(self, column: str) -> EncodedImages:
        """The encoded images of a column."""
        ...


def choose_columns(available: Sequence[str], columns: Mapping[str, str] | None, where: str) -> dict[str, str]:
    """Which column is "image", "label" and, where there are any, "group" and "split".

    ``columns`` maps these roles (a plural will do) to names; for roles left out the usual names are tried.

    >>> choose_columns(("img", "fine_label", "sex"), {"group": "sex"}, "x.parquet")
    {'image': 'img', 'label': 'fine_label', 'group': 'sex'}

    Raises:
      InputError: an unknown role, one role twice, a name that is not there or is there twice, or no image or label
        column; lists what is there.
    """
    renamed: dict[str, str] = {}
    for role, name in (columns or {}).items():
        plain = role.lower().removesuffix("s")
        if plain not in _USUAL:
            raise InputError(f"columns names the unknown role {role!r}: the roles are {listed(_USUAL)}")
        if name not in available:
            raise InputError(
                f"{where} has no column {name!r}{did_you_mean(name, available)}; its columns are {listed(available)}"
            )
        if plain in renamed:
            raise InputError(f"columns names the role {plain} twice ({renamed[plain]}, {name}): leave one out")
        renamed[plain] = name
    chosen: dict[str, str] = {}
    for role, usual in _USUAL.items():
        column = renamed.get(role) or next((name for name in usual if name in available), None)
        if column is not None:
            if list(available).count(column) > 1:
                raise InputError(f"{where} has more than one column {column!r}: rename all but one")
            chosen[role] = column
        elif role not in _OPTIONAL:
            raise InputError(
                f"{where} has no {role} column: name one with --columns {role}=NAME (columns={{'{role}': NAME}}); "
                f"its columns are {listed(available)}"
            )
    return chosen


def same_columns(
    splits: Mapping[str, Rows], columns: Mapping[str, str] | None
) -> tuple[dict[str, str], tuple[str, ...]]:
    """:func:`choose_columns` for all splits of one source, which must agree on them, and notes on columns left out.

    Raises:
      InputError: as there; or a split lacks a column that another one has in use, group and split columns included.
    """
    first = splits["train"] if "train" in splits else next(iter(splits.values()))
    chosen = choose_columns(first.column_names, columns, first.where)
    for rows in splits.values():
        for role, column in chosen.items():
            if column not in rows.column_names:
                raise InputError(
                    f"{rows.where} has no column {column!r}, which is the {role} in {first.where}; its columns are "
                    f"{listed(rows.column_names)}: files of one data set must agree"
                )
        for role, column in choose_columns(rows.column_names, columns, rows.where).items():
            if chosen.get(role) != column:
                raise InputError(
                    f"{rows.where} has the column {column!r} as {role}, and {first.where} has "
                    + (f"{chosen[role]!r}" if role in chosen else "none")
                    + f": files of one data set must agree; rename it, or name one with --columns {role}=NAME"
                )
    return chosen, unused_columns(first.column_names, chosen, columns, first.where)


def unused_columns(
    available: Sequence[str], chosen: Mapping[str, str], columns: Mapping[str, str] | None, where: str
) -> tuple[str, ...]:
    """Notes on columns that might have been meant: other usual names of a role for which none was asked.

    >>> unused_columns(("image", "label", "class"), {"image": "image", "label": "label"}, None, "x.parquet")
    ('x.parquet: the column label is taken as the label, and class is left out',)
    """
    renamed = {role.lower().removesuffix("s") for role in columns or {}}
    others = {
        role: [name for name in _USUAL[role] if name in available and name not in chosen.values()]
        for role in chosen
        if role not in renamed
    }
    return tuple(
        f"{where}: the column {chosen[role]} is taken as the {role}, and {listed(names)} is left out"
        for role, names in others.items()
        if names
    )


def parts_of(
    splits: Mapping[str, Rows], chosen: Mapping[str, str], decoder: Decoder, names: Mapping[str, tuple[str, ...]]
) -> dict[str, Part]:
    """Decoded parts of tables by split; a split column cuts a table that is named "all".

    Args:
      splits: the tables.
      chosen: see :func:`same_columns`.
      decoder: for the images.
      names: the names of the columns that have recorded names (see :func:`recorded`).

    Raises:
      InputError: a split column that contradicts the files; see :func:`parts_by_split`.
    """
    parts: dict[str, Part] = {}
    for split, rows in splits.items():
        images, notes = decoder(rows.encoded_images(chosen["image"]), f"{rows.where}")
        part = Part(
            images=images,
            labels=_named(rows, chosen["label"], "label", names),
            groups=_named(rows, chosen["group"], "group", names) if "group" in chosen else None,
            notes=notes,
        )
        if "split" not in chosen:
            parts[split] = part
        elif split == "all":
            parts.update(parts_by_split(part, rows.values(chosen["split"]), rows.where))
        else:
            check_split_column(rows.values(chosen["split"]), split, rows.where)
            parts[split] = part
    return parts


def recorded(splits: Mapping[str, Rows], column: str, what: str) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The names recorded for a column's numbers in all files of all splits, and notes on how these differ.

    Each file's numbers are read with its own names.  Their order is that of the first file, of "train" where that is
    known, so that its numbers stay what they are.

    Raises:
      InputError: a file without names, though it holds numbers and another one has names; files whose names differ in
        more than their order.
    """
    ordered = sorted(splits, key=lambda split: split != "train")
    sections = [section for split in ordered for section in splits[split].sections(column)]
    with_names = [(where, check_names(names, what, where)) for where, names, _ in sections if names]
    if not with_names:
        return None, ()
    first, names = with_names[0]
    notes = []
    for where, others in with_names[1:]:
        if set(others) != set(names):
            raise InputError(
                f"{where} records different {what} names ({listed(others)}) from {first} ({listed(names)}): files "
                f"of one data set must agree"
            )
        if others != names:
            notes.append(
                f"{where} records its {what} names in a different order from {first}; each is read with its own"
            )
    for where, own, values in sections:
        if not own and any(isinstance(value, (int, float)) for value in values):
            raise InputError(
                f"{where} records no names for its {what} numbers, and {first} does: record them in both, or in neither"
            )
    return names, tuple(notes)


def _named(rows: Rows, column: str, what: str, names: Mapping[str, tuple[str, ...]]) -> list[object]:
    """A column's values, by name where names are recorded."""
    values: list[object] = []
    for where, own, section in rows.sections(column):
        named = column in names and own
        values.extend(by_name(section, check_names(own, what, where), what, where) if named and own else section)
    return values


def encoded(
    batch: pa.Array, where: str, first_row: int, column: str, inside: Sequence[Path] = ()
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image in an Arrow array of ``{bytes, path}`` or of raw bytes.

    A path without bytes is followed only into the folders ``inside``: a table could name any file of this
    machine.

    Raises:
      InputError: the column has another type, or an image is missing.
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
            f"{where} has {kind} instead of images in column {column!r}: name the image column "
            f"(columns={{'image': NAME}}, --columns image=NAME); it must hold encoded images (bytes, or bytes and path)"
        )
    for offset, (data, path) in enumerate(zip(contents, paths, strict=True)):
        name = f"{where} row {first_row + offset}" + (f" ({path})" if path else "")
        content = data.as_py() or (_inside(path, inside) if path else None)
        if not content:
            raise InputError(f"{name} holds no image in column {column!r}: store the encoded bytes")
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
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None
