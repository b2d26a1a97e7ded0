"""Arrays in a ``.npz`` file: ``images``, ``labels`` [, ``groups``, ``split``, ``classes``, ``group_names``].

Where the splits have arrays of their own, as in ``x_train``, ``y_train`` or ``train_images``, ``train_labels``, these
are read too.  Nothing in the file is trusted before it is checked: pickled objects are never read, and the sizes in the
zip directory and in each array's own header must agree and stay under the memory limit before a byte is unpacked.
"""

from __future__ import annotations

import lzma
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.labels import check_names
from trilemma.data.limits import check_packing, check_size
from trilemma.data.npy import read_header
from trilemma.data.parts import Part, parts_by_split, split_name
from trilemma.data.readers.rows import choose_columns, unused_columns
from trilemma.errors import InputError
from trilemma.hints import listed, one_line
from trilemma.words import counted

_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
"""What a damaged, encrypted or oddly compressed zip file raises."""

_ROLES = {
    "image": ("x", "image", "images", "img", "imgs", "data"),
    "label": ("y", "label", "labels", "target", "targets"),
    "group": ("g", "group", "groups"),
}
"""Words that give an array of one split its role, beside the split's name."""

Names = tuple[str, ...] | None


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a file holds.

    Attributes:
      parts: by split.
      class_names, group_names: None where the file has none.
      notes: on arrays that are left out.
    """

    parts: dict[str, Part]
    class_names: Names
    group_names: Names
    notes: tuple[str, ...]


def read_npz(file: Path, columns: Mapping[str, str] | None, cap: int) -> Arrays:
    """The arrays of a file as parts by split.

    ``images`` are whole numbers 0 .. 255 of shape (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 to 4 (a
    transparency channel is dropped).  ``labels`` and ``groups`` are (N,) or (N, 1), numbers or words.  ``split`` (N,)
    holds train / test / valid or 0 / 1.  ``columns`` gives arrays of other names a role.

    Raises:
      InputError: not a readable ``.npz``; arrays that are missing, pickled, larger than ``cap``, of another
        kind or shape, or of different lengths; two arrays of one name or role.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive, file)
            by_split = {} if columns else _by_split(tuple(members), file)
            plain = not by_split
            chosen = {"all": choose_columns(tuple(members), columns, str(file))} if plain else by_split
            named = [role for role in ("classes", "group_names") if role in members]
            wanted = [name for roles in chosen.values() for name in roles.values()] + named
            check_size(sum(members[name].file_size for name in wanted), cap, str(file))
            arrays = {name: _member(archive, members[name], f"array {name!r} of {file}", cap) for name in wanted}
    except (*_DAMAGE, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} cannot be read as .npz ({one_line(error)}): write it again") from None
    parts = {split: _part(arrays, roles, file) for split, roles in chosen.items()}
    if plain and "split" in chosen["all"]:
        parts = parts_by_split(parts["all"], _column(arrays[chosen["all"]["split"]]).tolist(), str(file))
    notes = unused_columns(tuple(members), chosen["all"], columns, str(file)) if plain else ()
    unused = [name for name in members if name not in wanted and not any(name in note for note in notes)]
    if unused:
        notes += (f"{file}: left out: {counted(len(unused), 'array')} ({listed(unused)})",)
    return Arrays(
        parts,
        _names(arrays.get("classes"), "label", file),
        _names(arrays.get("group_names"), "group", file),
        notes,
    )


def _members(archive: zipfile.ZipFile, file: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of the archive by name."""
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    names = [info.filename.removesuffix(".npy") for info in infos]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{file} holds more than one array {twice[0]!r}: write it again with one of each name")
    return dict(zip(names, infos, strict=True))


def _by_split(names: tuple[str, ...], file: Path) -> dict[str, dict[str, str]]:
    """The arrays of each split by role, where names say both, as ``x_train`` and ``test_labels`` do; else nothing.

    Raises:
      InputError: two arrays of one split and role; a split without images or labels; groups in some splits only;
        arrays of one split beside arrays of none.
    """
    roles = {word: role for role, words in _ROLES.items() for word in words}
    splits: dict[str, dict[str, str]] = {}
    for name in names:
        words = re.split(r"[-_. ]", name.lower())
        if len(words) != 2:
            continue
        first, second = ((split_name(word), roles.get(word)) for word in words)
        split, role = first[0] or second[0], second[1] or first[1]
        if split is None or role is None or (first[0] and second[0]):
            continue
        if role in splits.setdefault(split, {}):
            raise InputError(f"{file} has {splits[split][role]} and {name}, both {role}s of {split}: keep one")
        splits[split][role] = name
    splits = {split: chosen for split, chosen in splits.items() if chosen.keys() & {"image", "label"}}
    for split, chosen in splits.items():
        for role in ("image", "label", *({"group"} if any("group" in other for other in splits.values()) else ())):
            if role not in chosen:
                raise InputError(
                    f"{file} has {listed(chosen.values())} but no {role}s of {split}: add the array "
                    f"{split}_{role}s, or rename the others"
                )
    if splits and any(name in ("image", "images", "label", "labels") for name in names):
        raise InputError(f"{file} has images of splits ({listed(splits)}) and images of no split: keep one kind")
    return splits


def _part(arrays: Mapping[str, NDArray[np.generic]], roles: Mapping[str, str], file: Path) -> Part:
    """The arrays of one split, checked against each other."""
    what = f"array {roles['image']!r} of {file}"
    images, notes = _pixels(arrays[roles["image"]], what)
    columns: dict[str, list[object]] = {}
    for role in ("label", "group", "split"):
        if role in roles:
            column = _column(arrays[roles[role]])
            if column.shape != (len(images),):
                raise InputError(
                    f"{file} has {len(images)} images but {role}s of shape {column.shape}: they must be of equal "
                    f"length, one {role} for each image" + _one_hot(column, role, len(images))
                )
            columns[role] = column.tolist()
    return Part(images, columns["label"], columns.get("group"), notes)


def _column(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """(N, 1), as Keras and MedMNIST write it, is (N,)."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _one_hot(column: NDArray[np.generic], role: str, count: int) -> str:
    return (
        f"; for one-hot rows, give the position, {role}s.argmax(1)" if column.ndim == 2 and len(column) == count else ""
    )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str, cap: int) -> NDArray[np.generic]:
    """One array, after its header has been checked against the zip directory."""
    try:
        with archive.open(info) as stream:
            header = read_header(stream)
        if header.dtype.hasobject:
            raise InputError(
                f"{what} holds pickled Python objects, and reading them could run any code that their author put "
                f"there: save plain numbers or fixed-width text"
            )
        check_size(header.size, cap, what)
        if header.size != info.file_size - header.offset:
            raise InputError(
                f"{what} declares {header.size} bytes but holds {info.file_size - header.offset}: the file is damaged, "
                f"write it again"
            )
        check_packing(info.file_size, info.compress_size, what)
        with archive.open(info) as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except (ValueError, OverflowError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} cannot be read ({one_line(error)}): write it again") from None


def _pixels(array: NDArray[Any], what: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    if array.dtype.kind not in "ui" or (
        array.dtype != np.uint8 and array.size and (array.min() < 0 or array.max() > 255)
    ):
        raise InputError(
            f"{what} must hold whole numbers from 0 to 255, not {array.dtype}: convert with "
            f"(255 * images).round().astype('uint8') if it runs from 0 to 1"
        )
    images = np.ascontiguousarray(array, dtype=np.uint8)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[3] <= 4:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or len(images) == 0:
        raise InputError(
            f"{what} must have shape (N, H, W), (N, H, W, C) or (N, C, H, W) with N > 0 and C from 1 to 4, "
            f"not {array.shape}"
        )
    channels = images.shape[1]
    notes = () if channels in (1, 3) else (f"{what}: left out: the transparency of {counted(len(images), 'image')}",)
    return np.ascontiguousarray(images[:, : 3 if channels >= 3 else 1]), notes


def _names(array: NDArray[np.generic] | None, what: str, file: Path) -> Names:
    return None if array is None else check_names(array.ravel().tolist(), what, str(file))
