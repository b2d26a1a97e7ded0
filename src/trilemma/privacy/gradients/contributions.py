"""What one layer adds to each example's squared gradient norm, and to the clipped sum once all norms are known.

Three forms, exact alike; the choice changes speed only (:func:`contribution`):

- :class:`Materialized` holds the layer's gradient of every example.
- :class:`MaterializedConvolution` holds that of the weight a convolution used.  Weight standardization has one Jacobian
  for all examples, so only norms and the sum, and never a whole gradient, are taken through its transpose.
- :class:`Ghost` holds no gradients: inputs and output gradients give the norms, and then one ordinary weight gradient,
  of the output gradients times the clipping factors, gives the sum (ghost norms, Goodfellow 2015, Li et al. 2022; mixed
  with materialized gradients by layer, Bu et al. 2022; with one backward pass, Bu et al. 2023).  It pays where a
  layer has few positions and many weights.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trilemma.privacy.gradients.rules import (
    RULES,
    Moments,
    Standardization,
    convolution_backward,
    convolution_bias,
    convolution_weights,
    on_cpu,
    padded,
    row_squares,
)
from trilemma.standardization import StandardizedConv2d

_FEW = 32
"""Operations for each number of a gradient up to which it is cheaper not to materialize it (CPU, float32)."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a layer on B * K views, those of one example side by side.

    Attributes:
      layer: the layer called.
      inputs: (B * K, ...).
      output: the layer's output, where ghost norms pay (:func:`ghost_pays`) and it was not changed in place since, or
        None.
      output_gradients: gradient of the loss with respect to the output, in the type that the layer computed in.
      examples: B.
      moments: those of the inputs of a group norm, where they are known.
    """

    layer: Any
    inputs: Tensor
    output: Tensor | None
    output_gradients: Tensor
    examples: int
    moments: Moments | None = None


class Contribution(Protocol):
    """What one layer contributes to the gradients of B examples.

    ``squares`` is float64 (B,), each example's squared norm.  ``clipped(factors, finite)`` returns, by the parameter's
    name in its layer, the float32 sum of gradients times ``factors`` float32 (B,), over the examples that are
    ``finite``, bool (B,), or over all for None.  The other examples add exactly zero, whatever their gradients are; a
    factor of zero would not keep them out, because 0 * nan is nan.
    """

    squares: Tensor

    def clipped(self, factors: Tensor, finite: Tensor | None) -> dict[str, Tensor]: ...


def _weighted(factors: Tensor, gradients: Sequence[Tensor], finite: Tensor | None) -> Tensor:
    """sum_b factors_b * gradients_b, of gradients that come in parts of the examples."""
    total = torch.zeros_like(gradients[0][0])
    sizes = [len(part) for part in gradients]
    masks = [None] * len(sizes) if finite is None else finite.split(sizes)
    for factor, part, mask in zip(factors.split(sizes), gradients, masks, strict=True):
        if mask is not None:
            factor, part = factor[mask], part[mask]
        total.view(1, -1).addmm_(factor[None], part.flatten(1))
    return total


@dataclass(eq=False)
class Materialized:
    """Every example's gradient: float (B, *shape) by the parameter's name in its layer."""

    gradients: dict[str, Tensor]

    def __post_init__(self) -> None:
        self.gradients = {name: g.float() for name, g in self.gradients.items()}
        rows = (g.flatten(2) if g.dim() > 2 else g[:, None] for g in self.gradients.values())
        self.squares = torch.stack([row_squares(r).sum(1) for r in rows]).sum(0)

    def clipped(self, factors: Tensor, finite: Tensor | None) -> dict[str, Tensor]:
        return {name: _weighted(factors, [g], finite) for name, g in self.gradients.items()}


class MaterializedConvolution:
    """Every example's gradient of the weight that a convolution used.

    They are computed a few examples at a time, and their norms are taken while a processor's cache holds them.
    """

    def __init__(self, call: Call) -> None:
        layer = call.layer
        out, *rest = layer.weight.shape
        self.map: Standardization | None = None
        self.used: list[Tensor] = []
        squares: list[Tensor] = []
        for gradients in convolution_weights(layer, call.inputs, call.output_gradients, call.examples):
            if not self.used:  # the first of several, all laid out alike
                # They keep their memory layout: transposing each example's gradient would take as long as its norm.
                self.last = not gradients.is_contiguous()
                self.shape = (out, *rest[1:], rest[0]) if self.last else (out, *rest)
                if type(layer) is StandardizedConv2d:
                    self.map = Standardization.of(layer, channels_last=self.last)
            used = (gradients.permute(0, 1, 3, 4, 2) if self.last else gradients).float().flatten(2)
            squares.append(self.map.squares(used) if self.map else row_squares(used).sum(1))
            self.used.append(used)
        self.squares = torch.cat(squares)
        self.bias: Tensor | None = None
        if layer.bias is not None:
            self.bias = convolution_bias(call.output_gradients, call.examples).float()
            self.squares += row_squares(self.bias)

    def clipped(self, factors: Tensor, finite: Tensor | None) -> dict[str, Tensor]:
        weight = _weighted(factors, self.used, finite)
        sums = {}
        if self.map is not None:
            weight, sums["gain"] = self.map.pull_back(weight)
        weight = weight.reshape(self.shape)
        sums["weight"] = weight.permute(0, 3, 1, 2).contiguous() if self.last else weight
        if self.bias is not None:
            sums["bias"] = _weighted(factors, [self.bias], finite)
        return sums


class Ghost:
    """A linear layer, or a convolution with one view an example, whose gradients are never materialized.

    With x_p the row (or patch) that position p sees and g_p its output gradient, an example's gradient is
    G = sum_p g_p x_p', so |G|^2 = sum_pq (g_p . g_q) (x_p . x_q).  In float64, since terms of both signs add up.
    """

    def __init__(self, call: Call) -> None:
        self.layer = layer = call.layer
        self.inputs, self.gradients = call.inputs, call.output_gradients
        if isinstance(layer, nn.Linear):
            self.inputs, self.gradients = (
                x.reshape(call.examples, -1, x.shape[-1]).mT for x in (self.inputs, self.gradients)
            )
        g = self.gradients.double().flatten(2)
        inner = self._row_products() if isinstance(layer, nn.Linear) else _patch_products(call)
        sums = g.sum(2)
        self.squares = sums.square().sum(1) if layer.bias is not None else g.new_zeros(call.examples)
        self.map = Standardization.of(layer) if type(layer) is StandardizedConv2d else None
        if self.map is not None and call.output is not None:
            # <v, G> from the outputs, which are gain * (v . x_p) + bias.
            along = (g * call.output.double().flatten(2)).sum(2)
            if layer.bias is not None:
                along -= sums * layer.bias.detach().double()
            along /= layer.gain.detach().double()
            scale = self.map.scale.double()
            self.squares += along.square().sum(1) - (along * scale * self.map.free).square().sum(1)
            inner -= _patch_sums(call) / layer.weight[0].numel()
            g = g * scale[:, None]
        self.squares += ((g.mT @ g) * inner).sum((1, 2))
        self.squares.clamp_min_(0)

    def _row_products(self) -> Tensor:
        rows = self.inputs.double()
        return rows.mT @ rows

    def clipped(self, factors: Tensor, finite: Tensor | None) -> dict[str, Tensor]:
        inputs, gradients = self.inputs, self.gradients
        if finite is not None:
            inputs, gradients, factors = inputs[finite], gradients[finite], factors[finite]
        gradients = gradients * factors.reshape(-1, *[1] * (gradients.dim() - 1))
        shape = self.layer.weight.shape
        if isinstance(self.layer, nn.Linear):
            weight = gradients.transpose(0, 1).flatten(1) @ inputs.transpose(0, 1).flatten(1).T
        else:
            weight = convolution_backward(self.layer, self.layer.weight.detach(), inputs, gradients, groups=1)
        sums = {"weight": weight}
        if self.map is not None:
            weight, sums["gain"] = self.map.pull_back(weight.flatten(1))
            sums["weight"] = weight.reshape(shape)
        if self.layer.bias is not None:
            sums["bias"] = gradients.flatten(2).sum((0, 2))
        return sums


def _windows(layer: nn.Conv2d, call: Call) -> list[tuple[slice, slice]]:
    """The pixels of the padded inputs that the positions see at each place of the kernel."""
    slices = []
    for size, kernel, stride, dilation in zip(
        call.output_gradients.shape[2:], layer.kernel_size, layer.stride, layer.dilation, strict=True
    ):
        slices.append([slice(d * dilation, d * dilation + stride * (size - 1) + 1, stride) for d in range(kernel)])
    return [(vertical, horizontal) for vertical in slices[0] for horizontal in slices[1]]


def _patch_products(call: Call) -> Tensor:
    """x_p . x_q of a convolution's patches, float64 (B, P, P).

    They are sums over the kernel of products of pixels, which are computed once and not for each place in the kernel.
    """
    layer, images = call.layer, padded(call.layer, call.inputs).double()
    height, width = images.shape[2:]
    pixels = images.flatten(2)
    products = (pixels.mT @ pixels).reshape(call.examples, height, width, height, width)
    inner = sum(products[:, v, h, v, h] for v, h in _windows(layer, call))
    assert isinstance(inner, Tensor)
    positions = call.output_gradients[0, 0].numel()
    return inner.reshape(call.examples, positions, positions)


def _patch_sums(call: Call) -> Tensor:
    """(1 . x_p) (1 . x_q) of a convolution's patches, float64 (B, P, P)."""
    pixels = padded(call.layer, call.inputs).double().sum(1)
    total = sum(pixels[:, v, h] for v, h in _windows(call.layer, call))
    assert isinstance(total, Tensor)
    sums = total.flatten(1)
    return sums[:, :, None] * sums[:, None, :]


def ghost_pays(layer: nn.Module, inputs: Tensor, output: Tensor, examples: int) -> bool:
    """Whether float64 products of positions cost little against the gradient's numbers, and are exact enough.

    They are used only in float32, whose sums are rounded nowhere, and only on a CPU, where this was measured: a GPU's
    convolutions may round, which is why none of them may compute a sum (``arithmetic``).  The gradients of a
    standardized convolution whose outputs say too little about <v, G> (a gain near 0, or weights so small that errors
    grow) are materialized.
    """
    if not on_cpu(inputs) or output.dtype != torch.float32 or inputs.dtype != torch.float32:
        return False
    if type(layer) is nn.Linear:
        rows = inputs.numel() // inputs.shape[-1] // examples
        return 4 * rows**2 * (layer.in_features + layer.out_features) <= _FEW * layer.weight.numel()
    if not isinstance(layer, nn.Conv2d) or len(inputs) != examples or layer.groups != 1:
        return False
    pixels, positions = padded(layer, inputs[:1])[0, 0].numel(), output[0, 0].numel()
    if 4 * (pixels**2 * layer.in_channels + positions**2 * layer.out_channels) > _FEW * layer.weight.numel():
        return False
    if type(layer) is StandardizedConv2d:
        gain, scale = layer.gain.detach().abs(), Standardization.of(layer).scale.abs()
        return float(scale.max()) < 10 and float(gain.min()) > 0.01 * float(gain.max())
    return type(layer) is nn.Conv2d


def contribution(call: Call, parameters: Collection[str], *, alone: bool) -> Contribution:
    """The cheapest exact form of what ``parameters``, by their names in the layer, add.

    A call that is ``alone``, the one use of its parameters, need not materialize gradients if all of them are trained.
    """
    layer = call.layer
    alone = alone and len(parameters) == sum(p is not None for p in layer._parameters.values())
    if alone and call.output is not None:
        return Ghost(call)
    if alone and isinstance(layer, nn.Conv2d):
        return MaterializedConvolution(call)
    known = {"moments": call.moments} if call.moments else {}
    gradients = RULES[type(layer)][0](layer, call.inputs, call.output_gradients, call.examples, **known)
    return Materialized({name: gradients[name] for name in parameters})
