"""Checkpoints: the state of a training on disk, complete enough to resume bit for bit.

Safetensors files (no pickle: loading never runs code) of at most 16 MB each, so that a run can be carried to another
machine: ``checkpoint.safetensors`` with a JSON header, and pieces whose names contain its digest.  The digest covers
all tensors and the header, and tells a whole checkpoint from a damaged one.  The checkpoint before it is kept, so that
one bad write loses one interval, not the run.

A checkpoint holds the key of the noise, and evidence computed from the training images.  Its files are therefore
readable by their owner alone from their first byte on, and are deleted when the run ends.  (A file system may keep the
blocks of a deleted file until it needs them: an encrypted disk helps, overwriting a file in place often does not.)
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized  # save_file leaves files of random names where it is killed
from torch import Tensor

from trilemma.errors import InputError
from trilemma.files import atomically, owner_alone, sync_folder

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"
PIECE = 15 * 2**20
"""Bytes of tensors in one file, at most; a larger tensor has a file to itself."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training as written to disk.

    Attributes:
      tensors: tensors on the CPU, by name.
      header: JSON-compatible values.
    """

    tensors: dict[str, Tensor]
    header: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically: once the folder has held a whole checkpoint, it holds one at every moment.

    Raises:
      InputError: the disk is full or the folder cannot be written.
    """
    target, fresh = folder / NAME, folder / "checkpoint.fresh.safetensors"
    tensors = _apart({name: t.detach().contiguous().cpu() for name, t in checkpoint.tensors.items()})
    header = json.dumps(checkpoint.header, sort_keys=True)
    digest = _digest(tensors, header)
    first, *rest = _pieces(tensors)
    names = [f"checkpoint.{digest[:16]}-{number}.safetensors" for number in range(1, len(rest) + 1)]
    try:
        for name, piece in zip(names, rest, strict=True):
            with atomically(folder / name) as part, owner_alone(part):
                part.write_bytes(serialized(piece))
        with atomically(fresh) as part, owner_alone(part):
            metadata = {"header": header, "digest": digest, "pieces": json.dumps(names)}
            part.write_bytes(serialized(first, metadata))
        if target.exists():
            os.replace(target, folder / PREVIOUS)
        os.replace(fresh, target)
        sync_folder(folder)  # before the pieces that the names on the disk refer to may go
        named = {name for path in (target, folder / PREVIOUS) for name in _named_by(path)}
        for path in folder.glob("checkpoint.*-*.safetensors"):
            if path.name not in named:
                path.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        fresh.unlink(missing_ok=True)
        raise InputError(
            f"cannot write the checkpoint in {folder}: {error}; make room there, then start again to go on"
        ) from error


def load(folder: Path) -> tuple[Checkpoint | None, str | None]:
    """The newest whole checkpoint, and a sentence if a damaged one had to be passed over.

    The result is (None, sentence) if no checkpoint is whole, and (None, None) if there is none.
    """
    warning = None
    for name in (NAME, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        checkpoint = _read(path)
        if checkpoint is not None:
            return checkpoint, warning
        warning = f"{path} is damaged (a write was cut short?)" + (
            "; using the one before it" if name == NAME and (folder / PREVIOUS).exists() else ""
        )
    return None, warning


def remove(folder: Path) -> None:
    """Remove the checkpoints of a run that has ended: what its noise was made from must not stay."""
    for path in [*folder.glob("checkpoint.safetensors*"), *folder.glob("checkpoint.*.safetensors*")]:
        path.unlink(missing_ok=True)


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied where they share memory with one before them: a tied weight is stored under each name."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        memory = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if memory in seen else tensor
        seen.add(memory)
    return apart


def _pieces(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors in order, in groups of at most ``PIECE`` bytes; at least one group."""
    pieces: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if pieces[-1] and size + tensor.nbytes > PIECE:
            pieces.append({})
            size = 0
        pieces[-1][name] = tensor
        size += tensor.nbytes
    return pieces


def _named_by(path: Path) -> list[str]:
    """The names of the pieces of a checkpoint; empty if it is damaged or does not exist."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names: list[str] = json.loads((file.metadata() or {}).get("pieces", "[]"))
            return names
    except (OSError, SafetensorError, ValueError):
        return []


def _read(path: Path) -> Checkpoint | None:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        for piece in json.loads(metadata.get("pieces", "[]")):
            with safe_open(path.parent / piece, framework="pt", device="cpu") as file:
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("digest") != _digest(tensors, metadata["header"]):
            return None
        return Checkpoint(tensors, json.loads(metadata["header"]))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        return None


def _digest(tensors: dict[str, Tensor], header: str) -> str:
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        t = tensors[name]
        digest.update(f"{name}{t.dtype}{tuple(t.shape)}".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
