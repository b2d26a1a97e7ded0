"""Check, before the first trial of a long study, that its data is here and that its maps fit on the disk.

A study that runs overnight must not fail in its sixth hour because a data set is missing or the disk is full.
"""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trilemma.data.cache import cache_folder
from trilemma.data.named import NAMED, same_images
from trilemma.data.options import LIMITS
from trilemma.data.places import roots
from trilemma.data.readers.hub import hub_installed
from trilemma.data.sets.catalog import READERS
from trilemma.errors import InputError
from trilemma.models.mapnet import map_network_width
from trilemma.models.prior.maps import map_shape, maps_folder
from trilemma.study.trials import Trial

Data = tuple[tuple[str, Any], ...]
"""Arguments of :func:`trilemma.load_data`, as a trial holds them."""


def refuse_what_is_missing(trials: Iterable[Trial], data_dir: str | None) -> None:
    """Refuse a study whose data is not here, or whose maps would not fit on the disk.

    Args:
      trials: the trials of the study.
      data_dir: the folder to search for data first, or None.

    Raises:
      InputError: which files are missing and where they were looked for, or how much room there must be.
    """
    trials = tuple(trials)
    _refuse_missing_data(trials, None if data_dir is None else Path(data_dir))
    _refuse_a_full_disk(trials, data_dir)


@functools.cache
def examples_here(name: str, data_dir: str | None) -> tuple[int, int] | None:
    """Training and test images of a named set: as many as are on this machine, else those of the official splits; None
    for data without an entry."""
    known = NAMED.get(name)
    if known is None:
        return None
    reader = READERS[known.reader]
    place = None if reader.find is None else reader.find(known, None if data_dir is None else Path(data_dir))
    counts = {} if place is None else reader.count(known, place)
    return counts.get("train", known.train), counts.get("test", known.test)


def map_images(data: Iterable[Data], data_dir: str | None = None) -> dict[tuple[int, int, int], int]:
    """How many images of each shape the maps of these data sets show, each once: a skewed set shows the color images of
    the set it is made from, and half of its training images and every test image in gray."""
    counts: dict[tuple[tuple[int, int, int], str, object], int] = {}
    for options in map(dict, data):
        known, images_here = NAMED.get(str(options["name"])), examples_here(str(options["name"]), data_dir)
        if known is None or images_here is None:
            continue
        train, test = (min(count, options.get(limit, count)) for count, limit in zip(images_here, LIMITS, strict=True))
        size = options.get("size")
        shape = known.shape if size is None else (known.shape[0], size, size)
        source = same_images(known.name)
        counts[shape, source, "color"] = max(train + test, counts.get((shape, source, "color"), 0))
        if known.skew is not None:
            counts[shape, source, "gray"] = max(train // 2 + test, counts.get((shape, source, "gray"), 0))
    total: dict[tuple[int, int, int], int] = {}
    for (shape, _, _), count in counts.items():
        total[shape] = total.get(shape, 0) + count
    return total


def _refuse_missing_data(trials: tuple[Trial, ...], data_dir: Path | None) -> None:
    folders = [str(folder) for folder in roots(data_dir)]  # a wrong data_dir is refused here
    missing = []
    for name in sorted({str(dict(trial.data)["name"]) for trial in trials}):
        known = NAMED.get(name)
        find = None if known is None else READERS[known.reader].find
        if known is not None and find is not None and find(known, data_dir) is None and not hub_installed():
            missing.append(f"{name} (a folder {known.folders[0]} with {known.repositories[0]}'s Parquet files)")
    if missing:
        looked = f"looked in {', '.join(folders)}" if folders else "there is no --data-dir and no $TRILEMMA_DATA"
        raise InputError(
            f"the study needs {'; '.join(missing)}: {looked}; put the files there, or pip install 'trilemma[hub]' to "
            "download them"
        )


def _refuse_a_full_disk(trials: tuple[Trial, ...], data_dir: str | None) -> None:
    needed, kinds = 0, {(t.recipe.prior_seed, t.data) for t in trials if map_network_width(t.recipe.model) is not None}
    for seed in {seed for seed, _ in kinds}:
        for shape, count in map_images((data for other, data in kinds if other == seed), data_dir).items():
            held = sum(file.stat().st_size for file in maps_folder(shape, seed).glob("*.npy"))
            needed += max(0, 2 * math.prod(map_shape(shape)) * count - held)
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"the study's maps take {needed / 2**30:.1f} GiB more, and {cache_folder()} has {free / 2**30:.1f} GiB "
            "left: make room or set TRILEMMA_CACHE to another folder"
        )
