"""What this machine has."""

from __future__ import annotations

import contextlib
import ctypes
import os


def cores() -> int:
    """How many cores this process may use, also where torch was told to use fewer."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int | None:
    """Bytes of memory that are free, or None where nobody says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def keep_freed_memory(limit: int = 2**30) -> None:
    """Let this process keep up to ``limit`` bytes that were freed, where the C library is glibc.

    By itself glibc gives every large tensor's memory back to the system, and the next update has it mapped and zeroed
    again, page by page: up to a third of an update.  What a process takes at its peak is about the same.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # no glibc
        allocator = ctypes.CDLL(None)
        allocator.mallopt(_MMAP_THRESHOLD, 2**25)  # the largest that it accepts
        allocator.mallopt(_TRIM_THRESHOLD, limit)


def faster_in_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (AMX).

    Vector instructions for it alone (avx512_bf16) are no sign: processors that have them are from twice as fast to half
    as fast in it.  Nothing is measured here, since all processes of a training, and one that goes on with it, must come
    to the same answer.
    """
    import torch  # here, so that counting cores does not wait for it

    return bool(torch.cpu._is_amx_tile_supported())
