"""Work in many parts on all cores: one thread for each part does better than all threads for one part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")


def cores() -> int:
    """How many this process may use, also where torch was told to use fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(function: Callable[[In], Out], parts: Iterable[In], threads: int) -> Iterator[Out]:
    """``function`` of each part, in order, by some threads, each computing with one of torch's.

    The parts are taken as they are needed; torch's own number of threads is as before once the iterator has ended.
    """
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
            waiting = []
            for part in parts:
                waiting.append(pool.submit(function, part))
                if len(waiting) > 4 * threads:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
    finally:
        torch.set_num_threads(before)
