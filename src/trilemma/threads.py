"""Work in many parts on all cores: one thread for each part does better than all threads for one part.

Torch's own threads wait busily for a while after each operation that they shared, on the cores that others could use
meanwhile.  So while parts are computed, nothing else is computed by more than one thread.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")

_here = threading.local()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Kept: a new thread's first matrix product takes milliseconds, in buffers and pages that an old one has."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has no threads but its own


def threads() -> int:
    """How many parts to compute at a time: as many as torch has threads, or had before :func:`one_each`."""
    return getattr(_here, "threads", 0) or torch.get_num_threads()


@contextmanager
def one_each() -> Iterator[None]:
    """Torch computes with one thread in each thread of ours; ``threads()`` is what it was."""
    if getattr(_here, "threads", 0):
        yield
        return
    _here.threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(_here.threads)
        _here.threads = 0


def in_threads(function: Callable[[In], Out], parts: Iterable[In], count: int) -> Iterator[Out]:
    """``function`` of each part, in order, by ``count`` threads, each computing with one of torch's.

    The parts are taken as they are needed.  Within ``function``, parts are computed one after the other.
    """

    def alone(part: In) -> Out:
        _here.inside, _here.threads = True, 1
        torch.set_num_threads(1)
        return function(part)

    if count == 1 or getattr(_here, "inside", False):
        yield from map(function, parts)
        return
    waiting = []
    with one_each():
        try:
            for part in parts:
                waiting.append(_pool(count).submit(alone, part))
                if len(waiting) > 4 * count:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:  # after an error: none is left to run beside what comes next
                if not future.cancel():
                    future.exception()
