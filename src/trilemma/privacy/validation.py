"""Which networks the guarantee covers: those in which no example's gradient depends on another example.

The layerwise method is tried against the plain loop here, before it is used.

**Random layers are refused.**  Dropout and its like draw from torch's global generator, by position: one more example
in a physical batch gives all later ones other masks.  Whoever guesses that generator's state (a seed of 32 bits, or
torch's default one) would see the sums on neighboring data sets differ by far more than C.  In a network without
randomness of its own, an example's clipped gradient is a function of the example and the weights, and nothing has to be
coupled.  :func:`check_network` tries that before the first update, and :func:`refuse_random_layers` watches it in every
one.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from trilemma.errors import PrivacyError
from trilemma.privacy.gradients.arithmetic import exact_arithmetic, exact_convolutions, refuse_rounded_products
from trilemma.privacy.gradients.layerwise import one_pass, why_not_layerwise
from trilemma.privacy.gradients.loop import loop
from trilemma.privacy.gradients.sums import Objective
from trilemma.privacy.held import Randomness, random_state
from trilemma.privacy.repeats import (
    evaluation_modes,
    gradient_alone,
    in_modes,
    refuse_other_gradient,
    tolerance,
    trial_loss,
)
from trilemma.privacy.structure import structure
from trilemma.privacy.unchanged import changed, refuse_hidden, state_of, tensors_of
from trilemma.weight_norm import old_weight_norm


@dataclass(frozen=True)
class NetworkCheck:
    """What the check of a network found, where it did not refuse the network.

    Attributes:
      reason: why the layerwise method does not fit this network, so that the loop over examples, which is exact for
        every module, takes its place; None if it fits.
    """

    reason: str | None


def refuse_mixing_layers(model: nn.Module) -> None:
    """Refuse the known layers that mix examples, or keep statistics of them or something of a pass.

    Raises:
      PrivacyError: names the module and what to put in its place.
    """
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            raise PrivacyError(
                f"{name or 'the network'} is {type(module).__name__}, which mixes the examples of a batch: "
                "put group norm in its place (technique gn of the package's networks; torch.nn.GroupNorm in your own)"
            )
        if isinstance(module, _InstanceNorm) and module.track_running_stats:
            raise PrivacyError(
                f"{name or 'the network'} is {type(module).__name__} with running statistics of the private "
                "images: set track_running_stats=False or put group norm in its place"
            )
    if wrong := old_weight_norm(model):
        raise PrivacyError(f"the network {wrong}")


@contextmanager
def refuse_random_layers(device: torch.device, *, own_loss: bool = False) -> Iterator[None]:
    """Refuse a network that draws from the generators that all code shares (torch's, numpy's, and that of ``random``)
    inside this context; or, where the loss is not ours (``own_loss``), a loss.  Generators that a network or a loss
    holds are compared with all else that it holds (``trilemma.privacy.unchanged``).

    Raises:
      PrivacyError: one of these, or torch's for ``device``, has moved on.
    """
    before = _generator_states(device)
    yield
    if before != _generator_states(device):
        raise PrivacyError(
            "the network or your loss draws random numbers, which the guarantee does not cover: remove layers like "
            "dropout, and noise from the loss, or train without a budget"
            if own_loss
            else "the network draws random numbers (dropout?), which the guarantee does not cover: remove that layer, "
            "or train without a budget"
        )


def _generator_states(device: torch.device) -> list[Randomness]:
    generators = [torch.default_generator, np.random.mtrand._rand, random._inst]
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    return [random_state(generator) for generator in generators]


def check_network(
    model: nn.Module, image_shape: tuple[int, ...], *, device: torch.device | None = None
) -> NetworkCheck:
    """Refuse a network that cannot be private, and determine whether the fast method fits.

    Known offenders are refused by name.  Everything else is tried on a few random images, at randomly moved weights
    (which are put back): exchanging one image, also for one of 255 times its size, must leave the outputs of the others
    alone; no pass, with gradients, without, or in evaluation mode, may change a parameter, a buffer, or, after the
    first pass, an attribute; and where every layer has a fast rule, the layerwise method must give the loop's sums.  A
    module that mixes examples only for other inputs than these is not found here; of what each call of ``Clipping``
    compares, see ``trilemma.privacy.repeats``.

    Args:
      model: any module from (n, *image_shape) to logits (n, classes).
      image_shape: (C, H, W).
      device: the device to try it on; None is the CPU.

    Raises:
      PrivacyError: the network mixes examples, draws random numbers, changes its parameters, buffers or attributes in
        the forward pass, holds what cannot be looked into, returns something other than one row of logits an image, or
        has nothing to train; or torch was told to round products of matrices.
    """
    refuse_rounded_products()
    refuse_mixing_layers(model)
    if any(p.dtype != torch.float32 for p in model.parameters()):
        model = copy.deepcopy(model).float()  # whether examples mix does not depend on the type
    if not any(p.requires_grad for p in model.parameters()):
        raise PrivacyError("the network has no trainable parameters: set requires_grad on those to be trained")
    refuse_hidden(state_of(model, copied=False))
    generator = torch.Generator().manual_seed(20)
    with exact_arithmetic(torch.device(device or "cpu")), exact_convolutions():
        images, others = _trial_images(image_shape, generator, device)
        with _scrambled(model, generator):
            before = _outputs(model, images)
            kept = state_of(model)  # what the first pass of all sets, such as a table of positions, may stay
            after = _outputs(model, others)
            if not isinstance(before, Tensor) or before.dim() != 2 or len(before) != 4:
                raise PrivacyError("the network must return logits (n, classes), one row for each image")
            if not bool(torch.isfinite(before).all() and torch.isfinite(after).all()):
                return NetworkCheck("its outputs for the trial images are not finite, which shows nothing")
            scale = float(before.abs().max()) + 1e-6
            if float((before - _outputs(model, images)).abs().max()) > 1e-4 * scale:
                raise PrivacyError(
                    "the network gives other outputs for the same images each time, and the guarantee does not cover "
                    "its own random numbers: remove what is random, or train without a budget"
                )
            mixes = any(_moves_others(model, images, others, before, place, scale) for place in range(len(images)))
            # Numbers of pixels as fractions, among which one image is given in bytes: code may ask which of the two.
            pixels = images.abs() / images.abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (images.dim() - 1))
            of_pixels = _outputs(model, pixels)
            if mixes or _moves_others(model, pixels, 255 * pixels, of_pixels, 0, float(of_pixels.abs().max()) + 1e-6):
                raise PrivacyError(
                    "the network mixes examples: exchanging one image changed the outputs of others; "
                    "remove what works across the batch dimension"
                )
            for name in changed(kept, state_of(model, copied=False)):
                raise PrivacyError(
                    f"the forward pass changes the {name}, through which one image could change what the network "
                    "does with others: keep it fixed"
                )
            _try_gradients(model, images, others)
            return NetworkCheck(why_not_layerwise(model) or _disagreement(model, images))


_KNOWN: WeakKeyDictionary[nn.Module, dict[Hashable, NetworkCheck]] = WeakKeyDictionary()
_STATES = 16  # of one network that are remembered


def known_check(model: nn.Module, image_shape: tuple[int, ...], device: torch.device) -> NetworkCheck:
    """:func:`check_network`, made once for each network and form of its images.

    A network that was changed since (another layer, hook, attribute, mode, or parameter to train) is checked again, as
    is one whose :func:`~trilemma.privacy.structure.structure` cannot be told.
    """
    made_of = structure(model)
    if made_of is None:
        return check_network(model, image_shape, device=device)
    checks = _KNOWN.setdefault(model, {})
    state = (image_shape, device, made_of)
    if state not in checks:
        check = check_network(model, image_shape, device=device)
        if len(checks) >= _STATES:
            checks.clear()
        checks[state] = check
    return checks[state]


def _trial_images(
    shape: tuple[int, ...], generator: torch.Generator, device: torch.device | None
) -> tuple[Tensor, Tensor]:
    """Four random images, and as many others to put in their places."""
    # Of very different size, so that examples that trade places show.
    sizes = torch.tensor([1.0, 3.0, 0.2, 0.5], dtype=torch.float32, device="cpu").reshape(4, *[1] * len(shape))
    images = _normal((4, *shape), generator) * sizes
    return images.to(device or "cpu"), _normal((4, *shape), generator).to(device or "cpu")


def _moves_others(model: nn.Module, images: Tensor, others: Tensor, before: Tensor, place: int, scale: float) -> bool:
    """Whether another image in one place changes the outputs of the rest."""
    exchanged = images.clone()
    exchanged[place] = others[place]
    change = (_outputs(model, exchanged) - before).abs()
    change[place] = 0
    return not float(change.max()) <= 1e-4 * scale


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def _outputs(model: nn.Module, images: Tensor) -> Any:
    """What the network returns, and a refusal if that changes parameters or buffers (buffers are restored first, and
    :func:`_scrambled` restores parameters)."""
    before = tensors_of(model)
    with _own_randomness(), refuse_random_layers(images.device):
        with torch.no_grad():  # a layer may act otherwise there
            model(images)
        with in_modes(model, evaluation_modes(model)), torch.no_grad():
            model(images)
        with torch.enable_grad():
            outputs = model(images)
    names = changed(before, tensors_of(model, copied=False))
    for buffer in [n.removeprefix("buffer ") for n in names if n.startswith("buffer ")]:
        owner, _, attribute = buffer.rpartition(".")
        registered = model.get_submodule(owner)._buffers
        if f"buffer {buffer}" in before:
            registered[attribute] = before[f"buffer {buffer}"]
        else:
            del registered[attribute]
    if names:
        raise PrivacyError(
            f"the forward pass changes the {names[0]}, which would carry statistics of private images: "
            "remove it or keep it fixed"
        )
    return outputs.detach() if isinstance(outputs, Tensor) else outputs


def _try_gradients(model: nn.Module, images: Tensor, others: Tensor) -> None:
    """Compute gradients as the updates will, so that what they would refuse is refused before the first of them."""
    labels, kept = torch.zeros(len(images), dtype=torch.int64, device=images.device), state_of(model)
    objective = Objective(model, 1.0, trial_loss)
    try:
        with _own_randomness():
            before = gradient_alone(objective, images[:, None], labels)
            loop(objective, others[:, None], labels)
    except RuntimeError as error:
        raise PrivacyError(
            f"the gradients of single examples cannot be computed for the network ({' '.join(str(error).split())}): "
            "give a plain module whose outputs follow from its parameters"
        ) from error
    for name in changed(kept, state_of(model, copied=False)):
        raise PrivacyError(
            f"a pass for the gradients changes the {name}, through which one image could change what the network does "
            "with others (nn.LSTM does so): put another layer there, or train without a budget"
        )
    _outputs(model, others)  # in every mode
    with _own_randomness():
        refuse_other_gradient(before, gradient_alone(objective, images[:, None], labels), tolerance(images.device))


def _disagreement(model: nn.Module, images: Tensor) -> str | None:
    """Why the layerwise method does not fit, by one pass over four examples of two views.

    All are computed together: parts, in which several cores take an example each, would be the loop once more, and show
    nothing of a network whose rows depend on their place or number.
    """
    batch = torch.stack([images, images.flip(0) * 0.7], dim=1)
    labels = torch.zeros(len(batch), dtype=torch.int64, device=images.device)
    objective, kept = Objective(model, 1.0, trial_loss), state_of(model)
    try:
        with _own_randomness():
            fast = one_pass(objective, batch, labels)
    except Exception as error:
        return f"the fast method failed on it ({str(error).splitlines()[0]})"
    for name in changed(kept, state_of(model, copied=False)):  # by another `self`, which a cache on a method remembers
        return f"a pass of a copy of it changes the {name}"
    with _own_randomness():
        exact = loop(objective, batch, labels)
    distance = sum(float((fast.sums[n] - exact.sums[n]).square().sum()) for n in exact.sums) ** 0.5
    length = sum(float(exact.sums[n].square().sum()) for n in exact.sums) ** 0.5
    same = distance <= 1e-3 * length and torch.allclose(fast.norms, exact.norms, rtol=1e-4, atol=0)
    return None if same else "its gradients are not those of its layers (a weight is used outside its layer?)"


@contextmanager
def _scrambled(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Inside, every parameter is moved at random: a head or gate that starts at zero would hide all behind it."""
    saved = [(p, p.detach().clone()) for p in model.parameters()]
    with torch.no_grad():
        for p, value in saved:
            spread = 0.05 + 0.5 * float(value.float().std(correction=0))
            p.add_((spread * _normal(p.shape, generator)).to(p))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, value in saved:
                p.copy_(value)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """The caller's generators stay untouched, also by a network that is refused for drawing from them."""
    shared: np.random.RandomState = np.random.mtrand._rand
    of_numpy, of_python = shared.get_state(), random.getstate()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(20)
            yield
    finally:
        shared.set_state(of_numpy)
        random.setstate(of_python)
