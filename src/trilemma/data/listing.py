"""Listing folders: entries in a fixed order, and file endings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from trilemma.errors import InputError
from trilemma.hints import one_line

IMAGE_ENDINGS = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".bmp",
    ".dib",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
"""The endings of files that are read as images, in lower case."""


def has_ending(path: Path, *endings: str) -> bool:
    """Whether a name has one of the endings (lower case), in any case.

    >>> has_ending(Path("IMAGE.PNG"), ".png")
    True
    """
    return path.suffix.lower() in endings


def children(folder: Path) -> list[Path]:
    """The entries of a folder sorted by name, 2 before 10, without those that begin with a dot.

    Raises:
      InputError: the folder cannot be read.
    """
    try:
        return sorted((child for child in folder.iterdir() if not child.name.startswith(".")), key=_natural)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({one_line(error)})") from None


def below(folder: Path) -> Iterator[Path]:
    """All files in a folder and in the folders below it; links to folders are not followed."""
    for child in children(folder):
        if not child.is_dir():
            yield child
        elif not child.is_symlink():
            yield from below(child)


def images_below(folder: Path) -> Iterator[Path]:
    """The files of :func:`below` with the endings of images."""
    return (file for file in below(folder) if has_ending(file, *IMAGE_ENDINGS))


def _natural(path: Path) -> tuple[tuple[int, str], ...]:
    parts = re.split(r"([0-9]+)", path.name)
    return (
        *((int(part), "") if part.isascii() and part.isdecimal() else (-1, part) for part in parts),
        (-1, path.name),
    )
