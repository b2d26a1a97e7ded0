"""Images that somebody hands to a trained model, in the form that the model was trained on.

Files are read by the rules of :mod:`trilemma.data.decode`, as training images are.  Nothing is resized, and no channel
is dropped or made up, unless it is asked for or was a rule of the training data (gray files among color ones).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.decode import Framing, decode_one
from trilemma.data.listing import images_below
from trilemma.errors import InputError
from trilemma.hints import one_line

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class GivenImages:
    """Images from outside, in the form that a model takes.

    Attributes:
      images: uint8 (n, C, H, W).
      names: a name for each image: that of its file, or its position.
    """

    images: Pixels
    names: tuple[str, ...]


def given_images(source: Any, shape: tuple[int, int, int], *, resize: bool = False) -> GivenImages:
    """Images from whatever they are held in.

    Args:
      source: uint8 (n, C, H, W), (n, H, W, C) or, if gray, (n, H, W), as an array or a tensor, or one such image; a PIL
        image; the name of a file or of a folder, which is searched for images; or several of these in a sequence.
      shape: (C, H, W) that the model takes.
      resize: crop images of another size to the center square and resize them, as ``size`` of the training data does.

    Raises:
      InputError: no image, one that cannot be read, or one of another size or another number of channels.
    """
    source = _without_torch(source)
    if isinstance(source, np.ndarray):
        rows = list(_rows(source, shape))
    elif isinstance(source, str | bytes | os.PathLike) or hasattr(source, "read") or not isinstance(source, Iterable):
        rows = _of_one(source, shape)
    else:
        rows = [row for item in source for row in _of_one(item, shape)]
    if not rows:
        raise InputError("there is no image to classify: give at least one")
    framing = _framing(shape) if resize else Framing()
    images = [
        _fitted(str(index) if name is None else name, row, shape, framing) for index, (name, row) in enumerate(rows)
    ]
    return GivenImages(
        np.stack(images), tuple(str(index) if name is None else name for index, (name, _) in enumerate(rows))
    )


_Row = tuple[str | None, "Pixels | Path | Any"]


def _of_one(source: Any, shape: tuple[int, int, int]) -> list[_Row]:
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.is_dir():
            files = list(images_below(path))
            if not files:
                raise InputError(f"{path} holds no images: give a folder with some, or files")
            return [(str(file.relative_to(path)), file) for file in files]
        return [(path.name, path)]
    if hasattr(source, "getbands"):  # PIL's
        return [(None, source)]
    try:
        array = np.asarray(_without_torch(source))
    except (ValueError, TypeError, RuntimeError):  # rows of different shapes, an image with its label
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        raise InputError(
            f"an object of type {type(source).__name__} is not an image: give uint8 arrays, PIL images, or names of "
            "files or folders"
        )
    return list(_rows(array, shape))


def _without_torch(source: Any) -> Any:
    """The array in a tensor; anything else as it is.  (An open file has ``detach``, too.)"""
    return source.detach().cpu().numpy() if hasattr(source, "detach") and hasattr(source, "cpu") else source


def _rows(array: NDArray[Any], shape: tuple[int, int, int]) -> Sequence[_Row]:
    """The images of an array, each uint8 (H, W) or (H, W, 3)."""
    if array.dtype != np.uint8:
        raise InputError(
            f"images must be uint8, values 0 to 255, not {array.dtype}: pixels are scaled and normalized by the model"
        )
    channels = shape[0]
    if array.ndim == 2 and channels == 1:
        array = array[None]
    if (
        array.ndim == 3
        and (channels == 3 or array.shape[0] == 1 or array.shape[2] == 1)
        and channels
        in (
            array.shape[0],
            array.shape[2],
        )
    ):
        array = array[None]
    if array.ndim == 3 and channels == 1:
        return [(None, row) for row in array]
    if array.ndim == 4 and array.shape[1] == channels:
        return [(None, row[0] if channels == 1 else row.transpose(1, 2, 0)) for row in array]
    if array.ndim == 4 and array.shape[3] == channels:
        return [(None, row[..., 0] if channels == 1 else row) for row in array]
    raise InputError(
        f"an array of shape {array.shape} holds no images with {channels} channel{'s' * (channels > 1)}: give uint8 "
        f"(n, {', '.join(map(str, shape))})"
    )


def _framing(shape: tuple[int, int, int]) -> Framing:
    if shape[1] != shape[2]:
        raise InputError(
            f"the model takes images of {shape[2]}×{shape[1]} pixels (width × height), but resizing makes only square "
            "images: resize the images yourself"
        )
    return Framing(size=shape[1])


def _fitted(name: str, row: Any, shape: tuple[int, int, int], framing: Framing) -> Pixels:
    """One image as uint8 (C, H, W)."""
    channels, height, width = shape
    if isinstance(row, Path):
        pixels = decode_one(name, _content(row), framing)
    elif isinstance(row, np.ndarray) and (row.shape[:2] == (height, width) or framing.size is None):
        pixels = row
    else:
        pixels = decode_one(name, _as_file(row), framing)
    if pixels.shape[:2] != (height, width):
        raise InputError(
            f"image {name} is {pixels.shape[1]}×{pixels.shape[0]} pixels (width × height), but the model takes "
            f"{width}×{height}: ask for resizing (resize=True, --resize), or resize it yourself"
        )
    if pixels.ndim == 3 and channels == 1:
        raise InputError(f"image {name} is in color, but the model was trained on gray images: convert it yourself")
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.repeat(planes, 3, axis=0) if len(planes) < channels else planes


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # the latter of a name with a null character
        raise InputError(f"cannot read {path} ({one_line(error)})") from error


def _as_file(row: Any) -> bytes:
    """A PIL image, or an array, as the file that the rules of decoding speak of."""
    from PIL import Image

    image = Image.fromarray(row) if isinstance(row, np.ndarray) else row
    file = io.BytesIO()
    try:
        image.save(file, format="PNG")
    except (OSError, ValueError):  # a mode that PNG lacks
        try:
            image.save(file, format="TIFF")
        except (OSError, ValueError) as error:
            raise InputError(f"an image cannot be used ({one_line(error)}): convert it to gray or RGB") from error
    return file.getvalue()
