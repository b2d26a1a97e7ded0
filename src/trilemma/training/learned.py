"""Weights that a run of Trilemma learned cannot be the initial weights of a private training.

What they learned from the images of that run would be in the new model, and its budget would not count it.  (Where
those images are public, whoever loads the file by hand says so; that other weights are public is the user's condition,
as :mod:`trilemma.trial.statement` says.)

A loaded network is known again in two ways: each of its layers that learned something says so in an attribute, which
goes with the layer and its copies whatever becomes of its numbers; and this process knows the numbers of each tensor
that it loaded, wherever a network keeps them.  Not seen are a layer of one's own that was given numbers derived from
them (scaled, rounded, transposed, a part of a tensor), what another process loaded by hand, and the weights of a
training that is used from Python.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from trilemma.errors import PrivacyError
from trilemma.privacy.randomness import tensors_digest
from trilemma.privacy.unchanged import state_of
from trilemma.training.recipe import Recipe

FACTS = "trilemma"
"""The entry of the metadata of ``model.safetensors`` that :mod:`trilemma.trial.facts` writes."""

_MARK = "_learned_by"
"""The attribute of a layer that learned something: the folder of the run, as text."""

_LEARNED: dict[str, Path] = {}
"""By digest, each tensor that this process loaded from a run; a digest knows it in another module as well."""


def starting_tensors(recipe: Recipe, network: nn.Module) -> dict[str, str]:
    """By name, a digest of each parameter and buffer that a training begins with and no run learned.

    Args:
      recipe: its ``weights`` may be the file of a run; then all of the network counts as learned.
      network: before the first update.
    """
    if _of_a_run(recipe.weights):
        return {}
    return {
        name: tensors_digest({"": tensor})
        for name, tensor in _tensors(network).items()
        if _can_be_read(tensor) and _MARK not in vars(_owner(network, name)) and not _learned_by("", tensor)
    }


def learned_names(network: nn.Module, start: Mapping[str, str]) -> list[str]:
    """The names of the parameters and buffers that a training changed, or that another run had learned.

    Args:
      network: after the training.
      start: :func:`starting_tensors` of it.
    """
    return [
        name
        for name, tensor in _tensors(network).items()
        if name not in start or tensors_digest({"": tensor}) != start[name]
    ]


def stored_names(path: Path) -> frozenset[str] | None:
    """What :func:`learned_names` was when a run wrote its ``model.safetensors``; None if the file does not say."""
    names = (_facts(path) or {}).get("learned")
    return frozenset(map(str, names)) if isinstance(names, list) else None


def remember_learned(network: nn.Module, folder: Path, names: Collection[str] | None) -> None:
    """Remember what a network that was loaded from the run in ``folder`` learned there.

    Args:
      network: its layers are marked.
      folder: the folder of the run.
      names: the names of what it learned; None counts all of its tensors.
    """
    for name, tensor in _tensors(network).items():
        if names is None or name in names:
            _owner(network, name).__dict__[_MARK] = str(folder)
            if _tells(tensor):
                _LEARNED[_digest(tensor)] = folder


def refuse_learned(recipe: Recipe, network: nn.Module | None) -> None:
    """Refuse a private training that would start from weights of a run.

    Args:
      recipe: its ``weights`` may name a file.
      network: what would be trained, however it was built; None looks at the file alone.

    Raises:
      PrivacyError: its weights are of a run.
    """
    if not recipe.private:
        return
    if _of_a_run(recipe.weights):
        raise PrivacyError(
            f"the weights {recipe.weights} are of a run, and the budget would not count what they learned: start from "
            "others, or, if that run's images were public, save its tensors alone in another file"
        )
    for name, value in state_of(network, copied=False).items() if network is not None else ():
        if folder := _learned_by(name, value):
            where = name.removesuffix(f".{_MARK}").removesuffix(f"[{_MARK!r}]")
            raise PrivacyError(
                f"the {where} of your network was learned by the run in {folder}, which the budget would not count: "
                "start from other weights in a new module, or, if that run's images were public, load_state_dict its "
                "model.safetensors in a new process, without load_model"
            )


def _of_a_run(weights: str) -> bool:
    """Whether a file of weights is one that a run wrote."""
    return bool(weights) and "version" in (_facts(Path(weights)) or {})


def _learned_by(name: str, value: Any) -> str | Path | None:
    """The run that learned what a network keeps under a name, if one did."""
    if name.endswith((_MARK, f"[{_MARK!r}]")):
        return str(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
        value = torch.from_numpy(value.astype(np.float64))  # torch knows no long doubles and one order of bytes
    return _LEARNED.get(_digest(value)) if _LEARNED and isinstance(value, Tensor) and _tells(value) else None


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return dict((*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)))


def _owner(network: nn.Module, name: str) -> nn.Module:
    """The layer that keeps the tensor of this name."""
    return network.get_submodule(name.rpartition(".")[0])


def _can_be_read(tensor: Tensor) -> bool:
    return not (tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized)


def _tells(tensor: Tensor) -> bool:
    """Whether a tensor cannot be one of zeros or ones as a layer begins with."""
    return _can_be_read(tensor) and tensor.numel() > 1 and bool((tensor != tensor.flatten()[0]).any())


def _digest(tensor: Tensor) -> str:
    """A SHA-256 (hex) of a tensor's numbers, in order, whatever their type and shape."""
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    return tensors_digest({"": tensor.detach().to(wide).reshape(-1)})


def _facts(path: Path) -> dict[str, Any] | None:
    """What the metadata of a file of weights says; None of a file that is not of a run."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            facts = json.loads((file.metadata() or {}).get(FACTS, "{}"))
    except (OSError, SafetensorError, ValueError):
        return None  # loading it says what is wrong
    return facts if isinstance(facts, dict) else None
