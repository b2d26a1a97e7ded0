"""Safe reading of an untrusted ``.npz`` file: no code in it is run, and sizes are checked before unpacking."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.limits import check_packing
from trilemma.data.npy import read_header
from trilemma.errors import InputError
from trilemma.hints import one_line

MAX_BYTES = 4 * 2**30
"""The maximum total size of a file's arrays in memory (4 GiB), unless the caller allows more."""

_PLAIN = "biufU"


def read_arrays(
    path: str | Path, names: Sequence[str], *, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, NDArray[Any]], tuple[str, ...]]:
    """Read those of the arrays ``names`` that an ``.npz`` file contains.

    Both the sizes in the zip directory and those in the arrays' own headers are checked before the data is
    unpacked.  (zipfile never unpacks more than the directory declares, and a header that does not match the
    declared size is refused, so false sizes in either place do no harm.)

    Args:
      path: the file.
      names: the arrays to read; the others are not touched, whatever they contain.
      max_bytes: the maximum total size in memory of the arrays that are read.

    Returns:
      The arrays by name, and the names of all arrays in the file.

    Raises:
      InputError: the file does not exist, is not an ``.npz`` file, is damaged or too large, or a requested array
        contains objects (a pickle).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is not a file: give the .npz with the predictions")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise InputError(f"{path.name} contains two arrays of one name: save it again with numpy.savez")
            available = tuple(name.removesuffix(".npy") for name in entries)
            wanted = [name for name in names if f"{name}.npy" in entries]
            _check_sizes(path.name, {name: entries[f"{name}.npy"] for name in wanted}, max_bytes)
            return {name: _read(archive, entries[f"{name}.npy"], path.name, name) for name in wanted}, available
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{path.name} is not a valid .npz file ({one_line(error)}): write it with numpy.savez"
        ) from None


def fields_of_arrays(arrays: Mapping[str, NDArray[Any]], available: tuple[str, ...], file: str) -> dict[str, Any]:
    """The arguments of ``Predictions`` that arrays hold.

    Args:
      arrays: by their names in the file.
      available: the names of all arrays in the file.
      file: its name, for messages.

    Raises:
      InputError: one is missing, or there are two arrays of groups.
    """
    fields: dict[str, Any] = dict(arrays)
    missing = [name for name in ("labels", "member") if name not in fields]
    if "logits" not in fields and "probs" not in fields:
        missing.insert(0, "logits (or probs)")
    if missing:
        raise InputError(
            f"{file} lacks {', '.join(missing)} (it contains {', '.join(available) or 'no arrays'}): save logits or "
            "probs (N, C), labels (N,) and member (N,) with numpy.savez"
        )
    if "logits" in fields and "probs" in fields:
        del fields["probs"]  # logits tell more: probabilities near 1 are rounded to 1
    names = fields.pop("classes", None)
    if names is not None and names.dtype.kind == "U" and names.ndim == 1:
        fields["class_names"] = tuple(map(str, names))
    if "group" in fields:
        if "groups" in fields:
            raise InputError(f"{file} contains both group and groups: keep one of them")
        fields["groups"] = fields.pop("group")
    return fields


def _check_sizes(file: str, entries: dict[str, zipfile.ZipInfo], max_bytes: int) -> None:
    total = sum(info.file_size for info in entries.values())
    if total > max_bytes:
        raise InputError(
            f"{file} would unpack to {total / 2**30:.1f} GiB, over the limit of {max_bytes / 2**30:.1f} GiB: "
            "save fewer rows or float16, or raise max_bytes in Python if you trust it"
        )
    for name, info in entries.items():
        check_packing(info.file_size, info.compress_size, f"{name} in {file}")


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: str, name: str) -> NDArray[Any]:
    try:
        with archive.open(info) as stream:
            _check_header(stream, info.file_size, file, name)
        with archive.open(info) as stream:
            array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} in {file} is not a valid array ({one_line(error)}): save it again") from None
    return array


def _check_header(stream: IO[bytes], size: int, file: str, name: str) -> None:
    header = read_header(stream)
    if header.dtype.hasobject or header.dtype.kind not in _PLAIN:
        raise InputError(
            f"{name} in {file} holds {'pickled objects' if header.dtype.hasobject else header.dtype}, which are never "
            "loaded: save it as a plain numeric array"
        )
    if header.size != size - header.offset:
        raise InputError(
            f"{name} in {file} declares a shape {str(header.shape)[:80]} that does not fit its size: save it again"
        )
