"""Many small matrix products on all cores: one thread for each part does better than all threads for one part."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")


def in_threads(function: Callable[[In], Out], parts: Iterable[In]) -> Iterator[Out]:
    """``function`` of each part, in order, by a thread for each core, each computing with one of torch's.

    All cores, also where torch was told to use fewer (as in a worker of a study, whose other trials wait meanwhile for
    the features that this one computes).  The parts are taken as they are needed; torch's own number of threads is as
    before once the iterator has ended.
    """
    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
            waiting = []
            for part in parts:
                waiting.append(pool.submit(function, part))
                if len(waiting) > 4 * cores:
                    yield waiting.pop(0).result()
            for future in waiting:
                yield future.result()
    finally:
        torch.set_num_threads(threads)
