"""Independent random streams from one seed, one for each purpose."""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, purpose: str, device: torch.device | None = None) -> torch.Generator:
    """A generator seeded by a hash of ``seed`` and ``purpose``.

    Neighbouring seeds and different purposes give unrelated streams, so that noise is never the numbers that sampling
    or start values were made from.

    >>> a, b = generator_for(0, "noise"), generator_for(0, "sampling")
    >>> bool(torch.rand(1, generator=a) == torch.rand(1, generator=b))
    False
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device or "cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
