"""Run parts of a computation in parallel, with one torch thread each.

This is faster than giving all of torch's threads to one part after another.  After each shared operation torch's own
threads spin for a while, on cores that other threads could use; so while parts are computed, torch uses a single
thread everywhere.
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

_state = threading.local()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """The thread pool, created once: the first matrix product of a new thread takes milliseconds to set up buffers."""
    return ThreadPoolExecutor(threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has only its own thread


def threads() -> int:
    """The number of parts to compute at a time: torch's number of threads, or its number before :func:`one_each`."""
    return getattr(_state, "threads", 0) or torch.get_num_threads()


@contextmanager
def one_each() -> Iterator[None]:
    """A context in which torch uses one thread in each of our threads; ``threads()`` keeps its value."""
    if getattr(_state, "threads", 0):
        yield
        return
    _state.threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(_state.threads)
        _state.threads = 0


def in_threads(function: Callable[[In], Out], parts: Iterable[In], count: int) -> Iterator[Out]:
    """Yield ``function`` of each part, in order, computed by ``count`` threads with one torch thread each.

    Parts are drawn from the iterable as they are needed.  A nested call within ``function`` computes its parts one
    after the other.
    """

    def alone(part: In) -> Out:
        _state.inside, _state.threads = True, 1
        torch.set_num_threads(1)
        return function(part)

    if count == 1 or getattr(_state, "inside", False):
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
            for future in waiting:  # after an error: no part keeps running in the background
                if not future.cancel():
                    future.exception()
