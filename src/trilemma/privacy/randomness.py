"""The random numbers that the guarantee rests on: one cryptographic stream, for sampling and for noise.

The numbers are the keystream of AES-256 in counter mode (NIST SP 800-38A), so without the key nobody can tell them from
true randomness, whatever other numbers of the stream are known.  torch's own generators do not have that property: the
state of a Mersenne Twister follows from 624 of its outputs, and on a CPU a seed of 32 bits decides all of it.

All numbers are computed on the CPU and then moved, so a GPU draws what a CPU draws.  A stream only ever goes forward:
its state is the key and a position, and no block of the keystream is used twice.  A state that is copied gives the same
numbers twice, though, so noise comes from streams that also follow from what it is added to (``derived``).
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Mapping

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

_KEY, _POSITION = 32, 16  # bytes
_BLOCK = 2  # 64-bit words in a block of AES
_CHUNK = 2**14  # pairs of normals computed at once: they stay in a core's cache
_WORD53, _WORD63 = 2**53 - 1, 2**63 - 1


class RandomStream:
    """A stream of random numbers that follows from a key of 32 bytes.

    >>> stream = RandomStream.keyed(b"an example")
    >>> start = stream.get_state()
    >>> first, second = stream.uniform(3), stream.uniform(3)
    >>> stream.set_state(start)
    >>> bool((stream.uniform(3) == first).all()), bool((first == second).any())
    (True, False)
    """

    def __init__(self, key: bytes, position: int = 0) -> None:
        """A stream at a position: the number of blocks of 16 bytes that have been used.

        Raises:
          ValueError: the key does not have 32 bytes.
        """
        if len(key) != _KEY:
            raise ValueError(f"a key has {_KEY} bytes, not {len(key)}")
        self._key, self._position = key, position

    @classmethod
    def secret(cls) -> RandomStream:
        """A stream whose key comes from the operating system and is kept nowhere but in the stream's state."""
        return cls(secrets.token_bytes(_KEY))

    @classmethod
    def keyed(cls, material: bytes) -> RandomStream:
        """The stream that follows from ``material``: as hard to guess as that is."""
        return cls(hashlib.sha256(b"trilemma random stream\0" + material).digest())

    def derived(self, material: bytes) -> RandomStream:
        """A stream that follows from this one's key and position and from ``material``; this one advances by a block.

        Streams from two copies of one state are the same if the material is, and otherwise unrelated.

        Source: HMAC with SHA-256 (RFC 2104), as a pseudorandom function of the material.
        """
        message = b"trilemma derived stream\0" + self._position.to_bytes(_POSITION, "big") + material
        self._position += 1
        return RandomStream(hmac.digest(self._key, message, "sha256"))

    @property
    def key_digest(self) -> str:
        """A SHA-256 (hex) that streams share if and only if they share their key, and that does not reveal the key."""
        return hashlib.sha256(b"trilemma key digest\0" + self._key).hexdigest()

    @property
    def position(self) -> int:
        """How many blocks have been used."""
        return self._position

    def get_state(self) -> Tensor:
        """uint8 (48,): the key and the position.  Whoever has it has every number of the stream."""
        return torch.tensor(list(self._key + self._position.to_bytes(_POSITION, "big")), dtype=torch.uint8)

    def set_state(self, state: Tensor) -> None:
        """Become the stream that a state was taken from.

        Raises:
          ValueError: this is not the state of a stream.
        """
        if state.dtype != torch.uint8 or state.shape != (_KEY + _POSITION,):
            raise ValueError(f"a stream's state is uint8 ({_KEY + _POSITION},), not {state.dtype} {tuple(state.shape)}")
        content = bytes(state.tolist())
        self._key, self._position = content[:_KEY], int.from_bytes(content[_KEY:], "big")

    def uniform(self, count: int) -> Tensor:
        """float64 (count,) on the CPU: multiples of 2**-53, uniform in [0, 1)."""
        return (self._words(count) & _WORD53).double().mul_(2.0**-53)

    def normal(self, count: int) -> Tensor:
        """float64 (count,) on the CPU: independent N(0, 1).

        Source: Box and Muller 1958, two numbers from 128 bits.  The radius is made from 63 bits, so that no number
        exceeds sqrt(2 ln 2**64) = 9.42; a true normal does once in 2e20 numbers.
        """
        pairs = -(-count // 2)
        numbers = torch.empty(2, pairs, dtype=torch.float64, device="cpu")
        for cosines, sines in numbers.split(_CHUNK, dim=1):
            first, second = self._words(2 * len(cosines)).view(-1, 2).unbind(1)
            inside = (first & _WORD63).double().add_(0.5).mul_(2.0**-63)  # in (0, 1]
            radius = inside.log_().mul_(-2).sqrt_()
            angle = (second & _WORD53).double().mul_(2 * math.pi * 2.0**-53)
            torch.mul(radius, angle.cos(), out=cosines)
            torch.mul(radius, angle.sin(), out=sines)
        return numbers.view(-1)[:count]

    def _words(self, count: int) -> Tensor:
        """int64 (count,): the next words of the keystream, little-endian; the rest of the last block is skipped."""
        blocks = -(-count // _BLOCK)
        counter = modes.CTR(self._position.to_bytes(_POSITION, "big"))
        self._position += blocks
        size = 8 * _BLOCK * blocks
        keystream = np.empty(size + 15, dtype=np.uint8)  # update_into wants room for one block more
        encryptor = Cipher(algorithms.AES(self._key), counter).encryptor()
        encryptor.update_into(np.zeros(size, dtype=np.uint8).data, keystream.data)
        return torch.from_numpy(keystream[:size].view("<i8"))[:count]


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) of tensors: names, types, shapes and content."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        content = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(content.view(torch.uint8).numpy().data)
    return digest.hexdigest()
