"""What this machine has."""

from __future__ import annotations

import torch


def available_memory() -> int | None:
    """Bytes of memory that are free, or None where nobody says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def faster_in_bfloat16() -> bool:
    """Whether this CPU has matrix units for bfloat16 (AMX).

    Vector instructions for it alone (avx512_bf16) are no sign: processors that have them are from twice as fast to half
    as fast in it.  Nothing is measured here, since all processes of a training, and one that goes on with it, must come
    to the same answer.
    """
    return bool(torch.cpu._is_amx_tile_supported())
