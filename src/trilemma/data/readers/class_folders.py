"""Folders of pictures: ``[train/ | test/] CLASS [/GROUP] / picture``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilemma.data.assemble import Part, split_name
from trilemma.data.readers.parquet import Decoder
from trilemma.errors import InputError
from trilemma.hints import listed, one_line

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})

PICKLE_HINT = (
    "holds Python pickles, and reading them would run code of whoever wrote them: use the binary version "
    "(cifar-10-batches-bin, cifar-100-binary), Parquet files, a folder of images, or the extra 'hub'"
)
_PICKLES = (("data_batch_1",), ("batches.meta",), ("meta", "train"))
_PICKLE_ENDINGS = frozenset({".pkl", ".pickle", ".pt", ".pth", ".joblib"})


@dataclass(frozen=True)
class FilePictures:
    """Picture files in a given order (see :class:`trilemma.data.decode.Pictures`)."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for path in self.paths:
            yield str(path), _read(path)

    def digest(self) -> str:
        """Of the contents in order; names do not enter."""
        total = hashlib.sha256(b"files")
        for path in self.paths:
            total.update(hashlib.sha256(_read(path)).digest())
        return total.hexdigest()


@dataclass(frozen=True)
class Listed:
    """Pictures of one split with what their folders say: equally long tuples."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None


def scan(folder: Path) -> dict[str, Listed]:
    """What lies in a folder, by split ("all" where there is no ``train/``), sorted by name.

    A class folder holds pictures, or group folders that do, not both.  Files that are no pictures, and names
    that begin with a dot, are passed over.

    Raises:
      InputError: no pictures; pictures beside class folders; groups in some classes only; a symbolic link
        that leads out of the folder; pickled archives.
    """
    if is_pickled(folder):
        raise InputError(f"{folder} {PICKLE_HINT}")
    root = folder.resolve()
    splits = {name: child for child in _folders(folder, root) if (name := split_name(child.name))}
    if "train" not in splits:
        if set(splits) and not set(_folders(folder, root)) - set(splits.values()):
            raise InputError(f"{folder} has no folder train: it has {listed(splits)}")
        return {"all": _classes(folder, root)}
    return {name: _classes(child, root) for name, child in splits.items()}


def folder_parts(found: dict[str, Listed], folder: Path, decoder: Decoder) -> dict[str, Part]:
    """Decoded parts of a scanned folder."""
    return {
        name: Part(
            images=decoder(FilePictures(part.paths), f"{folder}" if name == "all" else f"{folder}/{name}"),
            labels=part.labels,
            groups=part.groups,
        )
        for name, part in found.items()
    }


def is_pickled(folder: Path) -> bool:
    """Whether a folder is an archive of pickles, such as ``cifar-10-batches-py``."""
    return any(all((folder / name).is_file() for name in names) for names in _PICKLES)


def is_pickle_file(file: Path) -> bool:
    """Whether a file's ending says that it is a pickle."""
    return file.suffix.lower() in _PICKLE_ENDINGS


def check_inside(path: Path, root: Path, named_by: str) -> None:
    """Refuse a path that leads out of ``root`` (which must be resolved), by ``..`` or by a link.

    Raises:
      InputError: it does.
    """
    try:
        inside = path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        inside = False
    if not inside:
        raise InputError(f"{named_by} leads out of {root}: put the pictures themselves into the folder")


def _classes(folder: Path, root: Path) -> Listed:
    paths: list[Path] = []
    labels: list[str] = []
    groups: list[str] = []
    loose = _pictures(folder, root)
    if loose:
        raise InputError(
            f"{loose[0]} lies beside the class folders: put each picture into a folder named after its class"
        )
    for class_folder in _folders(folder, root):
        direct = _pictures(class_folder, root)
        by_group = {child.name: _pictures(child, root) for child in _folders(class_folder, root)}
        by_group = {name: pictures for name, pictures in by_group.items() if pictures}
        if direct and by_group:
            raise InputError(
                f"{class_folder} holds pictures and group folders with pictures: put all into group folders, or none"
            )
        for group, pictures in by_group.items() if by_group else (("", direct),):
            paths += pictures
            labels += [class_folder.name] * len(pictures)
            groups += [group] * len(pictures)
    if not paths:
        raise InputError(
            f"{folder} holds no pictures: expected CLASS/*.png or CLASS/GROUP/*.png ({', '.join(sorted(ENDINGS))})"
        )
    if any(groups) and not all(groups):
        bare = sorted({label for label, group in zip(labels, groups, strict=True) if not group})
        raise InputError(f"{folder} has group folders in some classes, but none in {listed(bare)}: add them")
    return Listed(tuple(paths), tuple(labels), tuple(groups) if any(groups) else None)


def _folders(folder: Path, root: Path) -> list[Path]:
    return sorted(
        (child for child in _children(folder, root) if child.is_dir()), key=lambda child: _natural(child.name)
    )


def _pictures(folder: Path, root: Path) -> list[Path]:
    return sorted(
        (child for child in _children(folder, root) if child.suffix.lower() in ENDINGS and child.is_file()),
        key=lambda child: _natural(child.name),
    )


def _children(folder: Path, root: Path) -> Sequence[Path]:
    try:
        children = [child for child in folder.iterdir() if not child.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({one_line(error)})") from None
    for child in children:
        if child.is_symlink():
            check_inside(child, root, f"the link {child}")
    return children


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sorts 2 before 10."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({one_line(error)}): replace or remove it") from None
