"""Independent random streams from one seed, one for each purpose.

Everything random is drawn by :func:`rng_for` (numpy) or :func:`generator_for` (torch), and what privacy rests on by
:func:`private_generator`.  numpy's own ``default_rng([seed, 5])`` is no substitute: it is the stream of
``default_rng([seed, 5, 0])`` too, since numpy pads its seeds with zeros.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from trilemma.errors import PrivacyError

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
    """A generator seeded by a hash of ``seed`` and ``purpose``.

    Neighboring seeds and different purposes give unrelated streams, so that noise is never the numbers that sampling
    or initial weights were made from.  On a CPU torch uses 32 bits of a seed: for noise there is ``private_generator``.

    >>> import torch
    >>> a, b = generator_for(0, "noise"), generator_for(0, "sampling")
    >>> bool(torch.rand(1, generator=a) == torch.rand(1, generator=b))
    False
    """
    import torch

    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device or "cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


_WORDS = 624  # of a Mersenne Twister's state, 32 bits each
_STATE = slice(24, 24 + 8 * _WORDS)  # where torch keeps them, a word in eight bytes


def private_generator(key: bytes, device: torch.device) -> torch.Generator:
    """A generator for sampling and noise, as hard to guess as ``key`` is and as unlikely to repeat.

    torch's generator for CPUs uses 32 bits of a seed: so few that somebody who sees a release can try them all, and
    that of a hundred thousand trainings two would likely share their noise.  So all of its state is made from ``key``
    here.  (That of a GPU, Philox, uses 64 bits.)

    Raises:
      PrivacyError: this torch keeps the state in another way.
    """
    import torch

    generator = torch.Generator(device)
    if device.type != "cpu":
        return generator.manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1)
    words = np.frombuffer(hashlib.shake_256(key).digest(4 * _WORDS), dtype="<u4")
    # numpy's Mersenne Twister says what must come: the first words, and all words after the next turn.
    known = np.random.MT19937()
    known.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": _WORDS}}
    state = generator.get_state()
    with contextlib.suppress(RuntimeError):  # which says of a state that it is none
        state[_STATE] = torch.tensor(words.astype(np.uint64).view(np.uint8))
        generator.set_state(state)
        drawn = torch.empty(2 * _WORDS, dtype=torch.int32).random_(generator=generator).numpy()
        if np.array_equal(drawn, known.random_raw(2 * _WORDS) & 0x7FFFFFFF):
            return generator.set_state(state)
    raise PrivacyError(
        f"torch {torch.__version__} keeps the state of its random numbers in a way that is not known here, and from a "
        "seed noise could be guessed: use a version from 2.11 to 2.13"
    )
