"""Where data sets are looked for on this machine, before anything is downloaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trilemma.data.readers.class_folders import PICKLE_HINT, is_pickled
from trilemma.errors import InputError

DATA_VARIABLE = "TRILEMMA_DATA"
SHARED = Path("../shared/data")


@dataclass(frozen=True)
class Place:
    """A folder in which a data set was found, and how it is laid out there ("Parquet", "binary archive")."""

    folder: Path
    layout: str

    def __str__(self) -> str:
        return f"{self.folder} ({self.layout})"


def roots(data_dir: str | os.PathLike[str] | None) -> Iterator[Path]:
    """``data_dir``, then $TRILEMMA_DATA, then ../shared/data of the current folder, as far as they exist.

    Raises:
      InputError: ``data_dir`` or $TRILEMMA_DATA is given but is not a folder.
    """
    named = (("data_dir (--data-dir)", data_dir), (f"${DATA_VARIABLE}", os.environ.get(DATA_VARIABLE) or None))
    for what, folder_name in named:
        if folder_name is not None:
            folder = Path(folder_name).expanduser()
            if not folder.is_dir():
                raise InputError(f"{what} names {folder}, which is not a folder: correct it or leave it out")
            yield folder
    if SHARED.is_dir():
        yield SHARED


def search(
    names: Sequence[str],
    recognize: Callable[[Path, bool], str | None],
    *,
    repositories: Sequence[str],
    pickled: Sequence[str] = (),
    data_dir: str | os.PathLike[str] | None,
) -> Place | None:
    """The first place where ``recognize(folder, named)`` recognizes a layout.

    In each root the folders ``names`` are tried, then the root itself (``named`` is False there: more than
    the folder's name must then speak for it); after the roots, the hub's cache of ``repositories``.

    Raises:
      InputError: only a pickled archive was found (a folder of ``pickled``, or the root itself).
    """
    refused: Path | None = None
    for root in roots(data_dir):
        for folder in [root / name for name in names]:
            if folder.is_dir() and (layout := recognize(folder, True)):
                return Place(folder, layout)
        if layout := recognize(root, False):
            return Place(root, layout)
        for folder in (*(root / name for name in (*pickled, *names)), root):
            if is_pickled(folder) and refused is None:
                refused = folder
        if refused is not None and data_dir is not None:
            break  # the folder that the user named holds it, so looking elsewhere would surprise
    if refused is None or data_dir is None:
        for repository in repositories:
            snapshot = hub_snapshot(repository)
            if snapshot is not None:
                try:
                    layout = recognize(snapshot, True)
                except InputError:
                    continue  # a download that was cut short
                if layout:
                    return Place(snapshot, f"{layout}, the hub's cache")
    if refused is not None:
        raise InputError(f"{refused} {PICKLE_HINT}")
    return None


def hub_snapshot(repository: str) -> Path | None:
    """The folder of a data set in the Hugging Face cache, None where it is not there.

    Looks at files only: needs no extra package and no network.
    """
    store = hub_folders()[0] / f"datasets--{repository.replace('/', '--')}"
    snapshots = store / "snapshots"
    try:
        revision = (store / "refs" / "main").read_text(encoding="ascii").strip()
        if revision and (snapshots / revision).is_dir():
            return snapshots / revision
    except (OSError, UnicodeDecodeError):
        pass
    try:
        return max((child for child in snapshots.iterdir() if child.is_dir()), key=_changed, default=None)
    except OSError:
        return None


def _changed(folder: Path) -> float:
    return folder.stat().st_mtime


def hub_folders() -> tuple[Path, ...]:
    """The folders into which the Hugging Face libraries write what they fetch: files, and prepared tables."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    files = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or home / "hub"
    tables = os.environ.get("HF_DATASETS_CACHE") or home / "datasets"
    return Path(files).expanduser(), Path(tables).expanduser()
