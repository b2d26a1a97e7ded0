"""How many examples fit a given memory, found by watching some of them.

What a clipped sum needs at its peak grows with the examples that are computed at once: activations, gradients of
outputs, the examples' own gradients.  Every tensor that comes up while examples are computed is counted from its first
use to its end, so that the answer holds for any network, number of views and compute type, on any device.  Scratch
space inside a device's kernels is not seen: :data:`MARGIN` is for that.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trilemma.errors import InputError
from trilemma.machine import available_memory

MARGIN = 1.3
"""By what the memory that was seen is multiplied."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class _Watch(TorchDispatchMode):
    """Counts the bytes of tensors that come up while it is active; ``peak`` is the most at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known = weakref.WeakSet[Any]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._known and storage not in given:
                    self._known.add(storage)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._ended, storage.nbytes())
        return found

    def _ended(self, size: int) -> None:
        self.now -= size


def peak_of(function: Callable[[], object]) -> int:
    """Bytes of tensors that are there at once, at most, while ``function`` runs, beyond those that were there before.

    >>> peak_of(lambda: torch.zeros(1000).add(1).mul(2))  # two float32 tensors at a time
    8000
    """
    watch = _Watch()
    with watch:
        function()
    return watch.peak


def physical_batch(
    compute: Callable[[int], object],
    *,
    wanted: int,
    least: int = 1,
    at_once: int | None = None,
    device: torch.device,
    memory: int | None = None,
) -> int:
    """How many examples to compute at once.

    Args:
      compute: computes so many examples on the device.
      wanted: as many as are best where there is memory enough.
      least: as many as there must be.
      at_once: each of torch's threads computes a part of the batch by itself, of so many examples at most; None: the
        whole is computed at once.
      device: where.
      memory: bytes that may be taken; None: 80 % of what a GPU has free, half of what a machine has.

    Returns:
      From ``least`` to ``wanted``.

    Raises:
      InputError: there is not enough memory for ``least``.
    """
    if memory is None:
        free = _free_memory(device)
        if free is None:
            return wanted
        memory = int(free * (0.8 if device.type == "cuda" else 0.5))
    threads = torch.get_num_threads()
    cores = 1 if at_once is None else threads
    count = part = wanted if at_once is None else min(-(-wanted // cores), at_once)
    try:
        torch.set_num_threads(threads // cores)
        while (peak := _peak_or_all(compute, count)) > memory // cores and count > least:
            # Half, or at once about what would fit if memory were proportional to the examples: it is less than that.
            share = 0.5 if peak == math.inf else min(0.5, memory / cores / peak)
            count = max(least, int(count * share))
    finally:
        torch.set_num_threads(threads)
    if peak > memory // cores:
        what = "one example takes" if count == 1 else f"{count} examples take"
        each = f", {memory / cores / 1e6:.3g} MB by each of {cores} threads" if cores > 1 else ""
        raise InputError(
            f"{what} about {peak / 1e6:.3g} MB of memory, and {memory / 1e6:.3g} MB may be taken{each}: "
            "use a larger --memory, fewer --views or a smaller network"
        )
    return wanted if count == part else count * cores


def _peak_or_all(compute: Callable[[int], object], count: int) -> float:
    try:
        return MARGIN * peak_of(lambda: compute(count))
    except torch.OutOfMemoryError:
        return math.inf


def _free_memory(device: torch.device) -> int | None:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


def parse_memory(text: str) -> int:
    """Bytes.

    >>> parse_memory("1.5GB"), parse_memory("512 MiB")
    (1500000000, 536870912)

    Raises:
      InputError: no size.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([kmgt]i?)?b?", text.strip().lower())
    if not found or float(found[1]) == 0:
        raise InputError(f"{text!r} is no amount of memory: use for example 4GB or 512MB")
    return int(float(found[1]) * _UNITS[found[2] or ""])
