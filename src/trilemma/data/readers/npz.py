"""Arrays in a ``.npz`` file: ``images``, ``labels`` [, ``groups``, ``split``, ``classes``, ``group_names``].

Nothing in the file is trusted before it is checked: pickled objects are never read, and the sizes in the zip
directory and in each array's own header must agree and stay under the memory limit before a byte is unpacked.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from trilemma.data.assemble import Part, parts_by_split
from trilemma.data.limits import check_size
from trilemma.data.readers.parquet import choose_columns
from trilemma.errors import InputError
from trilemma.hints import listed, one_line

_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError)
"""What a damaged, encrypted or oddly compressed zip file raises."""

Names = tuple[str, ...] | None


def read_npz(file: Path, columns: Mapping[str, str] | None, cap: int) -> tuple[dict[str, Part], Names, Names]:
    """Parts by split, class names and group names (None where the file has none).

    ``images`` are whole numbers 0 .. 255 of shape (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 to 4 (a
    transparency channel is dropped).  ``labels`` and ``groups`` are (N,), numbers or words.  ``split`` (N,)
    holds train / test / valid or 0 / 1.  ``columns`` gives arrays of other names a role.

    Raises:
      InputError: not a readable ``.npz``; arrays that are missing, pickled, larger than ``cap``, of another
        kind or shape, or of different lengths.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members: dict[str, zipfile.ZipInfo] = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
            chosen = choose_columns(tuple(members), columns, str(file))
            named = [role for role in ("classes", "group_names") if role in members]
            wanted = chosen | dict(zip(named, named, strict=True))
            check_size(sum(members[name].file_size for name in wanted.values()), cap, str(file))
            found = {
                role: _member(archive, members[name], f"array {name!r} of {file}", cap) for role, name in wanted.items()
            }
    except (*_DAMAGE, OSError) as error:
        raise InputError(f"{file} cannot be read as .npz ({one_line(error)}): write it again") from None
    images = _pixels(found["image"], f"array {chosen['image']!r} of {file}")
    for role in ("label", "group", "split"):
        if role in found and found[role].shape != (len(images),):
            raise InputError(
                f"{file} has {len(images)} images but {role}s of shape {found[role].shape}: "
                f"they must be of equal length, one {role} for each image"
            )
    part = Part(
        images=images,
        labels=found["label"].tolist(),
        groups=found["group"].tolist() if "group" in found else None,
    )
    parts = {"all": part}
    if "split" in found:
        parts = parts_by_split(part, found["split"].tolist(), str(file))
    return parts, _names(found.get("classes")), _names(found.get("group_names"))


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str, cap: int) -> NDArray[np.generic]:
    """One array, after its header has been checked against the zip directory."""
    with archive.open(info) as stream:
        shape, dtype = _header(stream, what)
        at = stream.tell()
    if dtype.hasobject:
        raise InputError(
            f"{what} holds pickled Python objects, and reading them would run code of whoever wrote them: "
            f"save plain numbers or fixed-width text"
        )
    declared = math.prod(shape) * dtype.itemsize
    check_size(declared, cap, what)
    if declared != info.file_size - at:
        raise InputError(
            f"{what} declares {declared} bytes but holds {info.file_size - at}: the file is damaged, write it again"
        )
    with archive.open(info) as stream:
        try:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        except ValueError as error:
            raise InputError(f"{what} cannot be read ({one_line(error)}): write it again") from None


def _header(stream: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format is not supported")
        shape, _, dtype = read(stream)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{what} cannot be read ({one_line(error)}): write it again") from None
    return shape, dtype


def _pixels(array: NDArray[np.generic], what: str) -> NDArray[np.uint8]:
    if array.dtype.kind not in "ui" or (
        array.dtype != np.uint8 and array.size and (array.min() < 0 or array.max() > 255)
    ):
        raise InputError(
            f"{what} must hold whole numbers from 0 to 255, not {array.dtype}: convert with "
            f"(255 * images).round().astype('uint8') if it runs from 0 to 1"
        )
    images = np.ascontiguousarray(array, dtype=np.uint8)
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] <= 4:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or not 1 <= images.shape[1] <= 4 or len(images) == 0:
        raise InputError(
            f"{what} must have shape (N, H, W), (N, H, W, C) or (N, C, H, W) with N > 0 and C from 1 to 4, "
            f"not {array.shape}"
        )
    return np.ascontiguousarray(images[:, : 3 if images.shape[1] >= 3 else 1])


def _names(array: NDArray[np.generic] | None) -> Names:
    if array is None:
        return None
    names = tuple(str(name) for name in array.ravel().tolist())
    if len(set(names)) != len(names):
        raise InputError(f"the names {listed(names)} are not all different: give each its own")
    return names
