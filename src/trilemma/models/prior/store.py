"""On-disk cache of fitted priors, keyed by blocks, image shape and seed.

A file is keyed by everything that the fit is a function of (blocks, shape, seed) and by what rounds it (the version of
torch, the number format), is written whole or not at all, and is checked by digest when it is read; a damaged one is
fitted again.  It holds nothing of private images.  No pickle: tensors, and a tree of the classes named here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trilemma.data.cache import cache_folder
from trilemma.files import atomically
from trilemma.models.prior.blocks import OneLayer, SecondOrder, TwoLayer
from trilemma.models.prior.family import Prior, Settings, Tell
from trilemma.models.prior.local import LocalMaps
from trilemma.models.prior.patches import PatchFilters, compute_type
from trilemma.models.prior.whitening import Whitening

FORMAT = 1
_PARTS = {part.__name__: part for part in (Prior, OneLayer, SecondOrder, TwoLayer, LocalMaps, PatchFilters, Whitening)}


def key_of(kind: str, blocks: tuple[Settings, ...], shape: tuple[int, int, int], *rest: object) -> str:
    """A name for what depends on these and on nothing else."""
    said = json.dumps([asdict(block) for block in blocks], sort_keys=True)
    text = ", ".join(map(str, [kind, f"torch {torch.__version__}", compute_type(), shape, *rest, said]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fitted(
    blocks: tuple[Settings, ...],
    shape: tuple[int, int, int],
    seed: int,
    *,
    folder: Path | None = None,
    tell: Tell = lambda _: None,
) -> Prior:
    """A prior from the cache, or fitted and then kept if there is room.

    Args:
      blocks: of ``trilemma.models.prior.PRIORS``, or put together by hand.
      shape: (C, H, W) of the images.
      seed: of the dictionary.
      folder: of the cache; the user's own if None.
      tell: told what is being done.

    Raises:
      InputError: images that are too small.
    """
    key = key_of(f"trilemma prior {FORMAT}", blocks, shape, seed)
    path = (folder or cache_folder() / "features" / "priors") / f"{key}.safetensors"
    prior = _read(path)
    if prior is None:
        prior = Prior.of(blocks, shape, seed, tell)
        _write(path, prior)
    return prior


def _read(path: Path) -> Prior | None:
    try:
        said = path.with_suffix(".sha256").read_text("ascii")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != said:
                return None
        with safe_open(path, framework="pt", device="cpu") as held:
            found = _joined(json.loads((held.metadata() or {})["tree"]), held.get_tensor, {})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, Prior) else None


def _write(path: Path, prior: Prior) -> None:
    """The digest last: without it the file does not count.  No room is no error, only more work another time."""
    digest = path.with_suffix(".sha256")
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_parted(prior, tensors, {}))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomically(path, shared=True, durable=False) as part:
            save_file(tensors, part, metadata={"tree": tree})
            with part.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            digest.unlink(missing_ok=True)
        with atomically(digest, shared=True, durable=False) as part:
            part.write_text(sha256, "ascii")
    except (OSError, SafetensorError):
        return


def _parted(value: Any, tensors: dict[str, Tensor], seen: dict[int, int]) -> Any:
    """A value as JSON; its tensors are put aside under names.  What is shared is written once and then referred to."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, tuple):
        return [_parted(item, tensors, seen) for item in value]
    if is_dataclass(value):
        if id(value) in seen:
            return {"again": seen[id(value)]}
        seen[id(value)] = number = len(seen)
        said = {field.name: _parted(getattr(value, field.name), tensors, seen) for field in fields(value)}
        return {"part": type(value).__name__, "number": number, "fields": said}
    return value


def _joined(said: Any, tensor: Callable[[str], Tensor], seen: dict[int, Any]) -> Any:
    """Inverse of :func:`_parted`."""
    if isinstance(said, list):
        return tuple(_joined(item, tensor, seen) for item in said)
    if not isinstance(said, dict):
        return said
    if "tensor" in said:
        return tensor(said["tensor"])
    if "again" in said:
        return seen[said["again"]]
    values = {name: _joined(value, tensor, seen) for name, value in said["fields"].items()}
    seen[said["number"]] = part = _PARTS[said["part"]](**values)
    return part
