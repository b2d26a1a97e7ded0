"""On-disk cache of fitted priors, keyed by blocks, image shape and seed.

The key of a file includes everything that the fit depends on (blocks, shape, seed) and everything that affects its
rounding (the version of torch, the number format).  Files are written whole or not at all and checked by digest when
they are read; a damaged prior is fitted again.  The cache contains no information about private images.  It does not
use pickle: a file holds tensors, and a JSON tree of the classes listed here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

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
Fitted = TypeVar("Fitted", Prior, LocalMaps)
_PARTS = {part.__name__: part for part in (Prior, OneLayer, SecondOrder, TwoLayer, LocalMaps, PatchFilters, Whitening)}


def key_of(kind: str, blocks: tuple[Settings, ...], shape: tuple[int, int, int], *rest: object) -> str:
    """A file name for results that depend on these arguments alone."""
    settings = json.dumps([asdict(block) for block in blocks], sort_keys=True)
    text = ", ".join(map(str, [kind, f"torch {torch.__version__}", compute_type(), shape, *rest, settings]))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def fitted(
    blocks: tuple[Settings, ...],
    shape: tuple[int, int, int],
    seed: int,
    *,
    folder: Path | None = None,
    tell: Tell = lambda _: None,
) -> Prior:
    """A prior from the cache, or else a newly fitted one, which is cached if there is disk space.

    Args:
      blocks: a value of ``trilemma.models.prior.PRIORS``, or other blocks.
      shape: (C, H, W), the shape of the images.
      seed: the seed of the dictionary.
      folder: the folder of the cache; None: the user's cache folder.
      tell: called with a description of each step.

    Raises:
      InputError: the images are too small.
    """
    return stored(_key(blocks, shape, seed), Prior, lambda: Prior.of(blocks, shape, seed, tell), folder)


def is_fitted(blocks: tuple[Settings, ...], shape: tuple[int, int, int], seed: int) -> bool:
    """Whether :func:`fitted` would find this prior in the user's cache folder, which takes no time."""
    return _path(_key(blocks, shape, seed)).exists()


def stored(key: str, kind: type[Fitted], fit: Callable[[], Fitted], folder: Path | None = None) -> Fitted:
    """The result of ``fit``, from the cache, or else newly fitted and cached if there is disk space.

    Args:
      key: a value of :func:`key_of`.
      kind: the class of what is fitted, one of those that can be stored.
      fit: fits it.
      folder: the folder of the cache; None: the user's cache folder.
    """
    path = _path(key, folder)
    part = _read(path)
    if not isinstance(part, kind):
        part = fit()
        _write(path, part)
    return part


def _key(blocks: tuple[Settings, ...], shape: tuple[int, int, int], seed: int) -> str:
    return key_of(f"trilemma prior {FORMAT}", blocks, shape, seed)


def _path(key: str, folder: Path | None = None) -> Path:
    return (folder or cache_folder() / "features" / "priors") / f"{key}.safetensors"


def _read(path: Path) -> object:
    try:
        expected = path.with_suffix(".sha256").read_text("ascii")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:
                return None
        with safe_open(path, framework="pt", device="cpu") as stored:
            part: object = _joined(json.loads((stored.metadata() or {})["tree"]), stored.get_tensor, {})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None
    return part


def _write(path: Path, fitted: object) -> None:
    """Write the file and then its digest, without which the file is ignored.  A full disk is not an error: it is
    then fitted again next time."""
    digest = path.with_suffix(".sha256")
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_parted(fitted, tensors, {}))
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
    """A value as JSON.  Its tensors are added to ``tensors`` under names; shared parts are written once."""
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
        parts = {field.name: _parted(getattr(value, field.name), tensors, seen) for field in fields(value)}
        return {"part": type(value).__name__, "number": number, "fields": parts}
    return value


def _joined(tree: Any, tensor: Callable[[str], Tensor], seen: dict[int, Any]) -> Any:
    """The inverse of :func:`_parted`."""
    if isinstance(tree, list):
        return tuple(_joined(item, tensor, seen) for item in tree)
    if not isinstance(tree, dict):
        return tree
    if "tensor" in tree:
        return tensor(tree["tensor"])
    if "again" in tree:
        return seen[tree["again"]]
    values = {name: _joined(value, tensor, seen) for name, value in tree["fields"].items()}
    seen[tree["number"]] = part = _PARTS[tree["part"]](**values)
    return part
