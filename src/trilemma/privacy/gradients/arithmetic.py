"""Keep sums in full float32 precision, whatever modes the caller has set.

A sum that is rounded to fewer digits after the clip can change by more than C when one example is added or removed.
Torch rounds in two ways.  Modes of the calling thread (``torch.autocast``) are switched off while sums are made, as
are those in which no gradient can be computed (``torch.no_grad``, ``torch.inference_mode``).  Settings of the whole
process are refused: switching them off would change what other threads compute meanwhile.
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trilemma.errors import PrivacyError

_ENVIRONMENT = {
    "ONEDNN_DEFAULT_FPMATH_MODE": "strict",
    "DNNL_DEFAULT_FPMATH_MODE": "strict",
    "NVIDIA_TF32_OVERRIDE": "0",
}
"""Variables that make libraries below torch round without its knowledge, and the value with which they do not."""

_BACKENDS = ("cuda", "cudnn", "miopen", "mkldnn", "mps", "xpu")

_BEFORE_THE_CLIP = ("torch.backends.cudnn.conv", "torch.backends.cudnn.rnn")
"""Torch rounds here unless it is told not to, and ``torch.backends.cudnn.allow_tf32`` is the older name of both.  It
does no harm: on a GPU, convolutions compute examples' gradients, whose norms are taken afterward, but never a sum of
clipped gradients."""


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Inside, this thread's modes neither round products nor keep gradients from being computed.

    A network's own compute type is set inside, around its forward pass alone.
    """
    own, host = (torch.autocast(kind, enabled=False) for kind in (device.type, "cpu"))
    try:
        with torch.inference_mode(False), torch.enable_grad(), own, host:
            yield
    finally:  # under a context of the caller's, copies of weights would stay in autocast's cache until that ends
        torch.clear_autocast_cache()


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Inside, a GPU's convolutions of float32 numbers are not rounded to TF32, as torch does unless it is told not to.

    Two ways to compute a gradient can only be compared there: rounding alone moves the gradients of a deep network by
    several percent.  The switch is the whole process's; it is put back.
    """
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


def refuse_rounded_products() -> None:
    """Refuse where torch or a library below it was told to round what goes into float32 products.

    Raises:
      PrivacyError: says what to call or set.
    """
    mend = _mend()
    if mend is not None:
        raise PrivacyError(
            f"sums of gradients would be rounded before the noise is added, which the guarantee does not cover: {mend}"
        )


def _mend() -> str | None:
    for variable, exact in _ENVIRONMENT.items():
        if os.environ.get(variable, exact).lower() != exact:
            return f"start Python without the environment variable {variable}"
    try:
        if torch.get_float32_matmul_precision() != "highest":
            return "call torch.set_float32_matmul_precision('highest')"
    except RuntimeError:  # torch's old and new names were mixed: the new ones say more
        pass
    for path, owner in _owners():
        if path not in _BEFORE_THE_CLIP and _value(owner, "fp32_precision") not in (None, "none", "ieee"):
            return f"set {path}.fp32_precision = 'ieee'"
        if path != "torch.backends.cudnn" and _value(owner, "allow_tf32"):
            return f"set {path}.allow_tf32 = False"
    return None


def _value(owner: object, name: str) -> object:
    try:
        return getattr(owner, name, None)
    except RuntimeError:  # mixed, as above
        return None


@functools.cache
def _owners() -> tuple[tuple[str, object], ...]:
    """The parts of this version of torch that may have a switch for rounding, by their paths.

    The broadest come first, since what they say holds for the rest.
    """
    paths = ["torch.backends"]
    for operation in ("", ".matmul", ".conv", ".rnn"):
        paths += [f"torch.backends.{backend}{operation}" for backend in _BACKENDS]
    owners = ((path, _at(path)) for path in paths)
    return tuple((path, owner) for path, owner in owners if owner is not None)


def _at(path: str) -> object:
    try:
        return operator.attrgetter(path.removeprefix("torch."))(torch)
    except AttributeError:
        return None
