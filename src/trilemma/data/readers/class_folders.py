"""Folders of images: ``[train/ | test/] CLASS [/GROUP] / image``."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trilemma.data.limits import MAX_ENCODED
from trilemma.data.listing import IMAGE_ENDINGS, children, has_ending, images_below
from trilemma.data.parts import Part, looks_like_split, split_name
from trilemma.data.readers.rows import Decoder
from trilemma.errors import InputError
from trilemma.hints import listed, one_line
from trilemma.words import counted

PICKLE_HINT = (
    "holds Python pickles, and reading them could run any code that their author put there: use the binary version "
    "(cifar-10-batches-bin, cifar-100-binary), Parquet files, a folder of images, or the extra 'hub'"
)
_PICKLES = (("data_batch_1",), ("batches.meta",), ("meta", "train"))
_PICKLE_ENDINGS = frozenset({".pkl", ".pickle", ".pt", ".pth", ".joblib"})


@dataclass(frozen=True)
class ImageFiles:
    """Image files in a given order (see :class:`trilemma.data.decode.EncodedImages`)."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for path in self.paths:
            yield str(path), _read(path)

    def digest(self) -> str:
        """The SHA-256 of the contents in order, without file names."""
        total = hashlib.sha256(b"files")
        for path in self.paths:
            total.update(hashlib.sha256(_read(path)).digest())
        return total.hexdigest()


@dataclass(frozen=True)
class Listed:
    """Images of one split with what their folders say: equally long tuples, and what was left out, in sentences."""

    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def scan(folder: Path) -> dict[str, Listed]:
    """What is in a folder, by split ("all" where there is no ``train/``), sorted by name.

    A class folder holds images, or group folders that do, not both.  Names that begin with a dot are passed over; what
    else is left out is noted.

    Raises:
      InputError: no images; images beside class folders; a class without any that can be read; groups in some classes
        only; two folders of one split; folders of which it is not clear whether they are splits or classes; a symbolic
        link that leads out of the folder; pickled archives.
    """
    if is_pickled(folder):
        raise InputError(f"{folder} {PICKLE_HINT}")
    root = folder.resolve()
    splits: dict[str, list[Path]] = {}
    others: list[Path] = []
    for child in _folders(folder, root):
        split = split_name(child.name)
        others.append(child) if split is None else splits.setdefault(split, []).append(child)
    others = [child for child in others if next(images_below(child), None) is not None]
    if "train" not in splits and splits and not others:
        raise InputError(f"{folder} has no folder train: it has {listed(splits)}")
    if "train" not in splits or (others and all(_images(child, root) for child in splits["train"])):
        return {"all": _all_classes(folder, root)}
    for split, folders in splits.items():
        if len(folders) > 1:
            raise InputError(
                f"{folder} has several folders of the split {split} ({listed(child.name for child in folders)}): put "
                f"their images into one"
            )
    if others:
        raise InputError(
            f"{folder} has images in {listed(child.name for child in others)} next to the folder train: move them into "
            f"train or test, or out of {folder}"
        )
    return {split: _classes(folders[0], root) for split, folders in splits.items()}


def folder_parts(listings: dict[str, Listed], folder: Path, decoder: Decoder) -> dict[str, Part]:
    """Decoded parts of a scanned folder."""
    parts = {}
    for name, listing in listings.items():
        where = f"{folder}" if name == "all" else f"{folder}/{name}"
        images, notes = decoder(ImageFiles(listing.paths), where)
        parts[name] = Part(images=images, labels=listing.labels, groups=listing.groups, notes=(*listing.notes, *notes))
    return parts


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
        raise InputError(f"{named_by} points outside {root}: put the images themselves into the folder")


def _all_classes(folder: Path, root: Path) -> Listed:
    """Class folders without any split.  A class may be called "test", but two such names are hardly classes."""
    listing = _classes(folder, root)
    doubtful = sorted({label for label in listing.labels if looks_like_split(label)})
    if len(doubtful) > 1:
        raise InputError(
            f"{folder} holds folders that are named like splits ({listed(doubtful)}): call them train and test, or, if "
            f"they are classes, list the images in {folder}/metadata.csv"
        )
    notes = [f"{folder}: the folder {name} is taken for a class and not for a split" for name in doubtful]
    return Listed(listing.paths, listing.labels, listing.groups, (*listing.notes, *notes))


@dataclass
class _LeftOut:
    """What is not read of a folder."""

    deeper: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)

    def notes(self, folder: Path) -> tuple[str, ...]:
        """A sentence with a count for each kind."""
        notes = []
        if self.deeper:
            notes.append(
                f"{folder}: left out: {counted(len(self.deeper), 'image')} deeper than class and group folders, such "
                f"as {self.deeper[0].relative_to(folder)}"
            )
        if self.others:
            kinds = Counter(file.suffix.lower() or "no ending" for file in self.others)
            notes.append(
                f"{folder}: left out: {counted(len(self.others), 'file')} not read as images "
                f"({listed(f'{kind} {count}' for kind, count in kinds.most_common())}), such as "
                f"{self.others[0].relative_to(folder)}"
            )
        if self.empty:
            notes.append(
                f"{folder}: left out: {counted(len(self.empty), 'empty folder')}, such as "
                f"{self.empty[0].relative_to(folder)}"
            )
        return tuple(notes)


def _classes(folder: Path, root: Path) -> Listed:
    paths: list[Path] = []
    labels: list[str] = []
    groups: list[str] = []
    left_out = _LeftOut()
    loose = _images(folder, root)
    if loose:
        raise InputError(f"{loose[0]} is next to the class folders: put each image into a folder named after its class")
    for class_folder in _folders(folder, root):
        by_group = _by_group(class_folder, root, left_out)
        for group, images in by_group.items():
            paths += images
            labels += [class_folder.name] * len(images)
            groups += [group] * len(images)
    if not paths:
        raise InputError(
            f"{folder} holds no images: expected CLASS/*.png or CLASS/GROUP/*.png ({', '.join(IMAGE_ENDINGS)})"
        )
    if any(groups) and not all(groups):
        bare = sorted({label for label, group in zip(labels, groups, strict=True) if not group})
        raise InputError(f"{folder} has group folders in some classes, but none in {listed(bare)}: add them")
    return Listed(tuple(paths), tuple(labels), tuple(groups) if any(groups) else None, left_out.notes(folder))


def _by_group(class_folder: Path, root: Path, left_out: _LeftOut) -> dict[str, list[Path]]:
    """The images of a class by group, "" where they have none.

    Raises:
      InputError: images beside group folders; a folder with files none of which can be read.
    """
    direct = _files(class_folder, root, left_out)
    by_group: dict[str, list[Path]] = {}
    deeper: list[Path] = []
    for child in _folders(class_folder, root):
        images = _files(child, root, left_out)
        below = [image for grandchild in _folders(child, root) for image in images_below(grandchild)]
        deeper += below
        if images:
            by_group[child.name] = images
        elif not below:
            left_out.empty.append(child)
    if direct and by_group:
        raise InputError(
            f"{class_folder} holds images and group folders with images: put all into group folders, or none"
        )
    if deeper and not direct and not by_group:
        raise InputError(
            f"{class_folder} holds images nested too deep ({deeper[0]}): put them into CLASS or CLASS/GROUP"
        )
    left_out.deeper.extend(deeper)
    if not direct and not by_group:
        left_out.empty.append(class_folder)
    return {"": direct} if direct else by_group


def _files(folder: Path, root: Path, left_out: _LeftOut) -> list[Path]:
    """The images right in a folder; other files are noted.

    Raises:
      InputError: there are only other files, so that a class or a group would vanish.
    """
    images = []
    others = []
    for child in _children(folder, root):
        if _is_image(child):
            images.append(child)
        elif not child.is_dir():
            others.append(child)
    if others and not images and not _folders(folder, root):
        raise InputError(
            f"{folder} holds no image that can be read, only {len(others)} other files such as {others[0].name}: "
            f"save them as PNG, or remove the folder"
        )
    left_out.others.extend(others)
    return images


def _is_image(path: Path) -> bool:
    return has_ending(path, *IMAGE_ENDINGS) and path.is_file()


def _folders(folder: Path, root: Path) -> list[Path]:
    return [child for child in _children(folder, root) if child.is_dir()]


def _images(folder: Path, root: Path) -> list[Path]:
    return [child for child in _children(folder, root) if _is_image(child)]


def _children(folder: Path, root: Path) -> Sequence[Path]:
    entries = children(folder)
    for child in entries:
        if child.is_symlink():
            check_inside(child, root, f"the link {child}")
    return entries


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_ENCODED:
            raise InputError(
                f"{path} is larger than {MAX_ENCODED >> 20} MiB, too large for an image: replace or remove it"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({one_line(error)}): replace or remove it") from None
