"""A training state on disk: everything needed to go on as if nothing had happened.

One safetensors file (no pickle: loading never runs code) with tensors by name and a JSON header.  A digest over both
tells a whole file from a damaged one.  The file before it is kept, so that one bad write loses one interval, not the
run.
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
from safetensors.torch import save_file
from torch import Tensor

from trilemma.errors import InputError

NAME, PREVIOUS = "checkpoint.safetensors", "checkpoint.previous.safetensors"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Attributes:
    tensors: by name; CPU.
    header: JSON-compatible values.
    """

    tensors: dict[str, Tensor]
    header: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: at any moment the folder holds at least one whole checkpoint once it has held one.

    Raises:
      InputError: no space or no right to write.
    """
    target, fresh = folder / NAME, folder / (NAME + ".part")
    tensors = {name: t.detach().contiguous().cpu() for name, t in checkpoint.tensors.items()}
    header = json.dumps(checkpoint.header, sort_keys=True)
    try:
        save_file(tensors, fresh, metadata={"header": header, "digest": _digest(tensors, header)})
        with open(fresh, "rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            os.replace(target, folder / PREVIOUS)
        os.replace(fresh, target)
    except (OSError, SafetensorError) as error:
        fresh.unlink(missing_ok=True)
        raise InputError(
            f"cannot write the checkpoint in {folder}: {error}; make room there, then start again to go on"
        ) from error


def load(folder: Path) -> tuple[Checkpoint | None, str | None]:
    """The newest whole checkpoint, and a sentence if a damaged one had to be passed over.

    (None, sentence) if none is whole, (None, None) if there is none at all.
    """
    said = None
    for name in (NAME, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        found = _read(path)
        if found is not None:
            return found, said
        said = f"{path} is damaged (a write was cut short?)" + (
            "; using the one before it" if name == NAME and (folder / PREVIOUS).exists() else ""
        )
    return None, said


def remove(folder: Path) -> None:
    """Once a run has ended its checkpoints are not needed (and with secret noise must not stay)."""
    for name in (NAME, PREVIOUS, NAME + ".part"):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> Checkpoint | None:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
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
