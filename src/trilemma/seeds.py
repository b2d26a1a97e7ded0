"""Independent random streams from one seed, one for each purpose, for everything that is public.

What must stay secret (sampling and noise) comes from :class:`trilemma.privacy.RandomStream` instead.
"""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, purpose: str, device: torch.device | None = None) -> torch.Generator:
    """A generator seeded by a hash of ``seed`` and ``purpose``.

    Neighboring seeds and different purposes give unrelated streams.  On a CPU torch uses 32 bits of a seed.

    >>> a, b = generator_for(0, "weights"), generator_for(0, "order")
    >>> bool(torch.rand(1, generator=a) == torch.rand(1, generator=b))
    False
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device or "cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
