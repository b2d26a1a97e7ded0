"""Networks of the package timm (extra ``timm``), by ``timm:NAME``.

timm is imported here alone, and only when such a network is built.  The layers are timm's own.  Its batch norm mixes
examples and is therefore refused under a budget; technique ``gn`` puts group norm in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trilemma.errors import InputError
from trilemma.hints import did_you_mean, one_line
from trilemma.models.layers import Norm

PREFIX = "timm:"
HUB = "hub"
"""In place of a file of weights: those that timm downloads for the name."""


def build_timm(
    name: str,
    *,
    classes: int,
    image_shape: tuple[int, int, int],
    norm: Norm,
    groups: int,
    weights: str = "",
    last_alone: bool = False,
    generator: torch.Generator,
) -> nn.Module:
    """A network of timm, from normalized images (n, C, H, W) to logits (n, classes).

    Args:
      name: ``timm:`` and a name that ``timm.create_model`` knows, hub names (``hf-hub:...``) included.
      classes: the number of outputs.
      image_shape: (C, H, W).
      norm: "group" replaces every batch norm by a group norm with the same scale and shift; else it stays.
      groups: of a group norm, where they divide its channels; else the largest smaller number that does.
      weights: "" for random ones, "hub" for those that timm downloads, or a ``.safetensors`` file.
      last_alone: freeze all layers but the last.
      generator: seeds the random weights.

    Raises:
      InputError: timm is not installed, has no such network, or the network or its weights do not fit.
    """
    timm = _timm()
    short, channels = name.removeprefix(PREFIX), image_shape[0]
    if ":" not in short and not timm.is_model(short):
        raise InputError(f"timm has no network {short!r}{did_you_mean(short, timm.list_models())}")
    seed = int(torch.randint(2**62, (), generator=generator))
    options = {"pretrained": weights == HUB, "num_classes": classes, "in_chans": channels}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network: nn.Module = timm.create_model(short, **options)
        stored = _read(Path(weights)) if weights not in ("", HUB) else None
        # A file may come from a network as timm makes it, or from one whose batch norm was replaced before training.
        replaced = stored is not None and not any(key.endswith("running_mean") for key in stored)
        if stored is not None and not (norm == "group" and replaced):
            _load(network, stored, weights)
        last = dict(network.get_classifier().named_parameters())  # type: ignore[operator]
        if norm == "group" and not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
            raise InputError(f"gn does not apply to {name}, which has no batch norm to replace: leave gn out")
        if norm == "group":
            network = _with_group_norm(network, groups)
            if stored is not None and replaced:
                _load(network, stored, weights)
        with torch.no_grad():
            outputs = network.eval()(torch.zeros(2, *image_shape))
    except InputError:
        raise
    except Exception as error:  # networks for larger images, downloads that fail
        raise InputError(f"{name} cannot be used here ({type(error).__name__}: {one_line(error)})") from error
    if not isinstance(outputs, Tensor) or outputs.shape != (2, classes):
        raise InputError(
            f"{name} does not return logits (n, {classes}) for images (n, {', '.join(map(str, image_shape))})"
        )
    if last_alone:
        if not last:
            raise InputError(f"{name} has no last layer to train alone: leave trained out")
        trainable = {id(p) for p in last.values()}
        for p in network.parameters():
            p.requires_grad_(id(p) in trainable)
    return network.train()


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise InputError(f"timm is not installed ({one_line(error)}): pip install 'trilemma[timm]'") from error
    except RuntimeError as error:  # of a torchvision that was built for another torch
        raise InputError(
            f"timm cannot be imported ({one_line(error)}): install the torchvision that belongs to this torch"
        ) from error
    return timm


def _read(path: Path) -> dict[str, Tensor]:
    try:
        weights: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read the weights {path} ({one_line(error)}): give a .safetensors file") from error
    return weights


def _load(network: nn.Module, weights: dict[str, Tensor], path: str) -> None:
    """Load weights; a last layer for other classes stays random.

    Raises:
      InputError: they are of another network.
    """
    own = network.state_dict()
    last = {f"{name}.{key}" for name, part in network.named_modules() if part is network.get_classifier()  # type: ignore[operator]
            for key in part.state_dict()}  # fmt: skip
    weights = {name: v for name, v in weights.items() if name not in last or v.shape == own[name].shape}
    if wrong := sorted((own.keys() - last) ^ (weights.keys() - last)):
        raise InputError(f"{path} has the weights of another network ({wrong[0]} is in only one of them)")
    try:
        network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise InputError(f"{path} has the weights of another network ({one_line(error)})") from error


def _with_group_norm(module: nn.Module, groups: int) -> nn.Module:
    """The module, with every batch norm in it replaced.  timm's also hold an activation, which stays."""
    if isinstance(module, nn.BatchNorm2d):
        channels = module.num_features
        count = next(g for g in range(min(groups, channels), 0, -1) if channels % g == 0)
        norm = nn.GroupNorm(count, channels, eps=module.eps, affine=module.affine)
        if module.affine:
            norm.load_state_dict({"weight": module.weight.detach(), "bias": module.bias.detach()})
        rest = [part for part in (getattr(module, "drop", None), getattr(module, "act", None)) if part is not None]
        return nn.Sequential(norm, *rest) if rest else norm
    for name, child in module.named_children():
        setattr(module, name, _with_group_norm(child, groups))
    return module
