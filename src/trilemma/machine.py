"""The hardware of this machine: cores, memory, fast number formats."""

from __future__ import annotations

import contextlib
import ctypes
import os


def cores() -> int:
    """The number of cores that this process may use, even if torch is set to use fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """The number of free bytes of memory, or None if the system does not report it."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # from glibc's malloc.h


def keep_freed_memory(limit: int = 2**30) -> None:
    """Let this process keep up to ``limit`` bytes of freed memory, if the C library is glibc.

    By default glibc returns every large tensor's memory to the system, which maps and zeroes it again, page by page, in
    the next update: this takes up to a third of the update.  The peak memory of the process hardly changes.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # the C library is not glibc
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 2**25)  # the largest value that it accepts
        allocator.mallopt(_TRIM_THRESHOLD, limit)


def faster_in_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (AMX).

    Vector instructions alone (avx512_bf16) are not sufficient: with them, processors are anywhere from twice as fast to
    half as fast in bfloat16 as in float32.  The speed is not measured here, since all processes of a training, and a
    process that resumes it, must come to the same answer.
    """
    import torch  # imported here, so that counting cores does not have to wait for torch

    return bool(torch.cpu._is_amx_tile_supported())
