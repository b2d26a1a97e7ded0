"""A module that the user gives: copied, and tried before anything is spent on it.

The caller's module is never trained.  A second training that is given the same module would start from what the first
one learned, which its budget does not count.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trilemma.errors import InputError
from trilemma.hints import listed, one_line
from trilemma.outside import called
from trilemma.weight_norm import old_weight_norm
from trilemma.words import clean


def own_network(name: str, network: object, classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
    """A copy of a user's network, in training mode on its device.

    Args:
      name: what the network is called in messages.
      network: a module from images float32 (n, C, H, W) to logits (n, ``classes``).
      classes, image_shape: of the images.

    Raises:
      InputError: it is no such module, or one that cannot be trained here.
    """
    if not isinstance(network, nn.Module):
        raise InputError(f"{name} is an object of type {type(network).__name__}: give a torch.nn.Module")
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise InputError(f"{name} is wrapped in {type(network).__name__}: give the module inside, its attribute module")
    tensors = [*network.named_parameters(), *network.named_buffers()]
    for key, tensor in tensors:
        if is_lazy(tensor):
            raise InputError(f"{name} has no weights yet ({key}): call it on one batch of images before you give it")
        if tensor.is_meta:
            raise InputError(f"{name} has no weights on the device meta ({key}): build it on the CPU")
    for key, tensor in network.named_parameters():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise InputError(
                f"{name} has weights of type {str(tensor.dtype).removeprefix('torch.')} ({key}): call .float() on it "
                "(computation in bfloat16 is an option of the execution)"
            )
    kept = copied(name, network)
    _try(name, copied(name, network), classes, image_shape, next((t.device for _, t in tensors), torch.device("cpu")))
    return kept.train()


def fill(network: nn.Module, weights: Mapping[str, Tensor], name: str, path: Path) -> None:
    """Load the weights of a file into a network.

    Args:
      network: the network, which is changed.
      weights: the tensors of the file, by name.
      name: what the network is called in messages.
      path: of the file, for messages.

    Raises:
      InputError: names or shapes differ.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        why = _difference(network, weights) or one_line(error)
        raise InputError(
            f"{name} does not fit {path} ({why}): give the network that these weights were trained in"
        ) from error


def _difference(network: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """How the tensors of a file differ in name or shape from those of a network; "" where they do not."""
    shapes = {key: list(tensor.shape) for key, tensor in network.state_dict().items() if isinstance(tensor, Tensor)}
    if extra := [key for key in weights if key not in shapes]:
        return f"it lacks {clean(listed(extra, most=3))} of the file"
    if missing := [key for key in shapes if key not in weights]:
        return f"the file lacks its {clean(listed(missing, most=3))}"
    for key, shape in shapes.items():
        stored = list(weights[key].shape)
        if stored != shape:
            return f"{clean(key)} has the shape {stored} in the file, and {shape} in the network"
    return ""


def copied(name: str, network: nn.Module) -> nn.Module:
    """A copy of a network, so that what is done to it is not done to the caller's.

    Raises:
      InputError: it cannot be copied, or its copy shares a module or a tensor with it.
    """
    if wrong := old_weight_norm(network):
        raise InputError(f"{name} {wrong}")
    try:
        twin = copy.deepcopy(network)
    except Exception as error:  # a module's attributes may raise anything
        raise InputError(
            f"{name} cannot be copied, as it must be ({type(error).__name__}: {one_line(error)})"
        ) from error
    if _parts_of(network) & _parts_of(twin):
        raise InputError(f"{name} shares weights with its copy: its __deepcopy__ must copy every module and tensor")
    return twin


def _parts_of(network: nn.Module) -> set[tuple[str, int]]:
    """Identities of all modules, and of the memory of all tensors that have any."""
    tensors = [*network.parameters(), *network.buffers()]
    memory = {("memory", t.untyped_storage().data_ptr()) for t in tensors if t.device.type != "meta" and t.numel()}
    return {("module", id(module)) for module in network.modules()} | memory


def _try(name: str, trial: nn.Module, classes: int, shape: tuple[int, int, int], device: torch.device) -> None:
    """Two images through a copy that is thrown away, since a pass may change what it keeps."""
    with torch.random.fork_rng():
        outputs = called(name.strip("'"), trial.eval(), torch.zeros(2, *shape, device=device))
    if not isinstance(outputs, Tensor) or outputs.shape != (2, classes):
        raise InputError(f"{name} does not return logits (n, {classes}) for images (n, {', '.join(map(str, shape))})")
    if not outputs.requires_grad and any(p.requires_grad for p in trial.parameters()):
        raise InputError(f"{name} gives outputs without gradients: remove no_grad or detach from its forward")
