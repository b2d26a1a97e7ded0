"""How many examples fit into memory, found by counting what a few of them take.

The peak memory of a clipped sum grows with the examples that are computed at once: activations, gradients of outputs,
per-example gradients.  Every tensor that is created while examples are computed is counted from its first use to its
end, so that the answer holds for any network, number of views and compute type, on any device.  Scratch
space inside a device's kernels is not seen; :data:`MARGIN` allows for it.
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
"""The factor by which the counted memory is multiplied."""

OF_FREE = {"cpu": 0.5, "cuda": 0.8}
"""The share of the free memory that may be used, by the kind of device."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class _Count:
    """The bytes of tensors that exist now, and the largest sum at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakSet[Any]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._known and storage not in inputs:
                    self._known.add(storage)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._ended, storage.nbytes())
        return result

    def _ended(self, size: int) -> None:
        self.now -= size


class _Watch(_Count, TorchDispatchMode):
    """Counts the tensors that are created while it is active.

    The method that counts is inherited: a mode that defines ``__torch_dispatch__`` itself makes torch import its
    compiler, which takes two seconds at the start of every training.
    """


def peak_of(function: Callable[[], object]) -> int:
    """The peak of the bytes of tensors that exist while ``function`` runs, beyond those that existed before.

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
    """The number of examples to compute at once.

    Args:
      compute: computes a number of examples on the device.
      wanted: the best number where there is enough memory.
      least: the smallest number that is acceptable.
      at_once: each of torch's threads computes parts of the batch by itself, of at most this many examples; None: the
        whole batch is computed at once.
      device: where examples are computed.
      memory: bytes that may be used; None: 80 % of what a GPU has free, half of what a machine has.

    Returns:
      From ``least`` to ``wanted``.

    Raises:
      InputError: ``least`` examples do not fit into memory.
    """
    if memory is None:
        free = _free_memory(device)
        if free is None:
            return wanted
        memory = int(free * OF_FREE["cuda" if device.type == "cuda" else "cpu"])
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
      InputError: the text is not a size.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?)\s*([kmgt]i?)?b?", text.strip().lower())
    if not match or float(match[1]) == 0:
        raise InputError(f"{text!r} is not an amount of memory: use for example 4GB or 512MB")
    return int(float(match[1]) * _UNITS[match[2] or ""])
