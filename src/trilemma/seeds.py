"""Independent random streams from one seed, one for each purpose, for all randomness that may be public.

Public randomness is drawn with :func:`rng_for` (numpy) or :func:`generator_for` (torch); the randomness that the
guarantee rests on (sampling and noise) is drawn with :class:`trilemma.privacy.RandomStream`.  numpy's own
``default_rng([seed, 5])`` is not a substitute: it is also the stream of ``default_rng([seed, 5, 0])``, since numpy
pads its seeds with zeros.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def rng_for(seed: int | np.random.Generator, purpose: str) -> np.random.Generator:
    """A numpy generator seeded by a hash of ``seed`` and ``purpose``; a generator is returned as it is.

    Neighboring seeds and different purposes give unrelated streams.

    >>> a, b = rng_for(0, "attack/mlp"), rng_for(0, "bootstrap/all")
    >>> bool(a.random() == b.random())
    False
    """
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest(), "big"))


def generator_for(seed: int, purpose: str, device: torch.device | None = None) -> torch.Generator:
    """A torch generator seeded by a hash of ``seed`` and ``purpose``.

    Neighboring seeds and different purposes give unrelated streams.  On a CPU, torch uses only 32 bits of a seed.

    >>> import torch
    >>> a, b = generator_for(0, "weights"), generator_for(0, "order")
    >>> bool(torch.rand(1, generator=a) == torch.rand(1, generator=b))
    False
    """
    import torch

    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device or "cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)
