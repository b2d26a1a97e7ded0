"""On-disk cache of what is computed once from each image: features, or maps.

The cache is keyed by content: by the digest of an image, and by whatever computes the rows (its settings, seed, shape
and number format).  Rows are therefore never used for other images or settings, and a data set that shares images with
an earlier one (a subset of it, or one with examples removed) reuses their rows.  Rows are stored in segments of up to
1,000 images, which are written whole or not at all and checked by digest when they are opened; a damaged segment is
deleted and computed again.  An interrupted computation resumes after its last segment.

The folder contains features of training images, so it is as sensitive as the images themselves.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.errors import InputError
from trilemma.files import alone_in, atomically
from trilemma.machine import available_memory, cores
from trilemma.progress import Progress
from trilemma.threads import in_threads

_SEGMENT = 1000
_PART = 128  # images per call in one thread: a fixed number, so that a row does not depend on its batch


@dataclass(frozen=True, eq=False)
class Features:
    """Rows of features on disk.

    Attributes:
      segments: memory maps, float16 (n, V, ...), with V views of each image, the first one without a shift.
      where: int64 (N, 2), the segment and the row of each image.
      shape: (V, ...), the shape of one image's features: (V, d), or (1, c, h, w) for maps.
    """

    segments: tuple[Tensor, ...]
    where: NDArray[np.int64]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.where)

    def take(self, rows: Tensor | NDArray[np.int64]) -> Tensor:
        """float16 (n, V, ...), features of the images at ``rows``: a view where they are contiguous, else a copy."""
        places = self.where[np.asarray(rows)]
        segment, line = places[0] if len(places) else (0, 0)
        if np.array_equal(places, np.column_stack([np.full(len(places), segment), line + np.arange(len(places))])):
            contiguous: Tensor = self.segments[segment][line : line + len(places)]
            return contiguous
        return torch.stack([self.segments[segment][line] for segment, line in places.tolist()])


@dataclass(frozen=True)
class Rows:
    """What is computed from each image, and how.

    Attributes:
      what: "features" or "maps", for messages.
      shape: (V, ...) of one image's row.
      memory: bytes that ``prepare`` takes, about.
      advice: what helps where memory is short.
      prepare: fits what computes the rows, and returns the function from uint8 (n, C, H, W) to float32 (n, V, ...).
    """

    what: str
    shape: tuple[int, ...]
    memory: int
    advice: str
    prepare: Callable[[], Callable[[Tensor], Tensor]]


def rows_of(
    rows: Rows, splits: Sequence[NDArray[np.uint8]], store: Path, progress: Progress = lambda *_: None
) -> list[Features]:
    """The rows of images, read from the cache where it contains them and computed otherwise.

    Args:
      rows: what to compute.
      splits: arrays uint8 (N, C, H, W), all with images of one shape.
      store: the folder for rows of this kind; its name must depend on all that decides their values.
      progress: called with (description, done, total).

    Returns:
      One :class:`Features` for each split.

    Raises:
      InputError: there is not enough disk space or memory.
    """
    images = [image for split in splits for image in split]
    names = [_digest(image) for image in images]
    held = _open(store)
    if _missing(names, held):
        _make(store, rows.what)
        with alone_in(
            store, waiting=lambda: progress(f"waiting for another process that computes these {rows.what}", 0, 0)
        ):
            missing = _missing(names, _open(store))
            if missing:
                _compute(rows, images, names, missing, store, progress)
        held = _open(store)
    segments = tuple(torch.from_numpy(segment) for _, segment in held)
    places = {name: (s, r) for s, (names_held, _) in enumerate(held) for r, name in enumerate(names_held)}
    where = np.array([places[name] for name in names], np.int64).reshape(-1, 2)
    starts = np.cumsum([len(split) for split in splits])[:-1]
    return [Features(segments, part, rows.shape) for part in np.split(where, starts)]


def _compute(
    rows: Rows,
    images: list[NDArray[np.uint8]],
    names: list[bytes],
    missing: list[int],
    store: Path,
    progress: Progress,
) -> None:
    _check_room(rows, store, len(missing))
    function = rows.prepare()
    parts = [missing[start : start + _PART] for start in range(0, len(missing), _PART)]
    computed = in_threads(
        lambda part: _in_a_fixed_batch(function, np.stack([images[row] for row in part])), parts, cores()
    )
    ready: list[int] = []
    values: list[NDArray[np.float16]] = []
    for number, (part, part_values) in enumerate(zip(parts, computed, strict=True), start=1):
        ready += part
        values.append(part_values)
        done = min(number * _PART, len(missing))
        progress(f"computing {rows.what}", done, len(missing))
        if len(ready) >= _SEGMENT or done == len(missing):
            _save(store, [names[row] for row in ready], np.concatenate(values), rows.what)
            ready, values = [], []


def _in_a_fixed_batch(function: Callable[[Tensor], Tensor], images: NDArray[np.uint8]) -> NDArray[np.float16]:
    """float16 (n, V, ...), computed in a batch of ``_PART`` images whatever n is."""
    padded = np.zeros((_PART, *images.shape[1:]), np.uint8)
    padded[: len(images)] = images
    with torch.inference_mode():
        return function(torch.from_numpy(padded))[: len(images)].half().numpy()


# ---- the folder -----------------------------------------------------------------------------------------------------


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _missing(names: list[bytes], held: list[tuple[list[bytes], NDArray[np.float16]]]) -> list[int]:
    """The first row of each distinct image that no segment contains."""
    known = {name for rows, _ in held for name in rows}
    missing = []
    for row, name in enumerate(names):
        if name not in known:
            known.add(name)
            missing.append(row)
    return missing


def _open(store: Path) -> list[tuple[list[bytes], NDArray[np.float16]]]:
    """The intact segments, each as the digests of its images and its rows."""
    segments = []
    for index in sorted(store.glob("*.json")):
        values = index.with_suffix(".npy")
        try:
            entry = json.loads(index.read_text("utf-8"))
            with values.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    raise ValueError("damaged")
            rows = np.load(values, mmap_mode="c", allow_pickle=False)  # copy on write: a change stays in memory
            names = [bytes.fromhex(name) for name in entry["images"]]
            if rows.dtype != np.float16 or len(rows) != len(names):
                raise ValueError("not a segment of features")
        except (OSError, ValueError, KeyError, TypeError):
            index.unlink(missing_ok=True)
            values.unlink(missing_ok=True)
            continue
        segments.append((names, rows))
    return segments


def _save(store: Path, names: list[bytes], rows: NDArray[np.float16], what: str) -> None:
    """Write the rows first and then, atomically, the index that makes them valid."""
    name = hashlib.sha256(b"".join(names)).hexdigest()[:32]
    values, index = store / f"{name}.npy", store / f"{name}.json"
    try:
        with atomically(values) as part:
            with part.open("wb") as file:
                np.save(file, rows)
            with part.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        with atomically(index) as part:
            part.write_text(json.dumps({"sha256": digest, "images": [name.hex() for name in names]}), "utf-8")
    except OSError as error:
        values.unlink(missing_ok=True)
        raise InputError(
            f"cannot keep {what} in {store}: {error.strerror or error}; make room or set TRILEMMA_CACHE, and run the "
            "same command again"
        ) from error


def _make(store: Path, what: str) -> None:
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot keep {what} in {store}: {error.strerror or error}; set TRILEMMA_CACHE") from error


def _check_room(rows: Rows, store: Path, images: int) -> None:
    """Refuse at once a computation that would run out of disk space or memory in ten minutes."""
    disk, free = 2 * math.prod(rows.shape) * images, shutil.disk_usage(store).free
    if disk > free:
        raise InputError(
            f"{rows.what} of {images * rows.shape[0]} views take {disk / 2**30:.1f} GiB, and {store} has "
            f"{free / 2**30:.1f} GiB left: make room or set TRILEMMA_CACHE to another folder"
        )
    available = available_memory()
    if available is not None and rows.memory > available:
        raise InputError(
            f"fitting this prior takes {rows.memory / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are "
            f"free: {rows.advice}"
        )
