"""Per-example gradients of single layers, from a layer's inputs and the gradients of its outputs.

Each rule takes the tensors of one call of a layer on B * K views, those of one example side by side, and returns
for each parameter the gradient of each example, summed over its views: float32 or the compute type, (B, *shape).
A rule belongs to exactly one class: a subclass may compute something else, so it gets no rule by inheritance.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.models.layers import StandardizedConv2d, standardize

Rule = Callable[[Any, Tensor, Tensor, int], dict[str, Tensor]]


def linear(layer: nn.Linear, inputs: Tensor, output_gradients: Tensor, examples: int) -> dict[str, Tensor]:
    """inputs (B*K, ..., in), output_gradients (B*K, ..., out)."""
    x = inputs.reshape(examples, -1, inputs.shape[-1])
    g = output_gradients.reshape(examples, -1, output_gradients.shape[-1])
    gradients = {"weight": torch.bmm(g.transpose(1, 2), x)}
    if layer.bias is not None:
        gradients["bias"] = g.sum(dim=1)
    return gradients


_SMALL = 20_000
"""Numbers in an example's unfolded patches up to which one batched product is faster than a call an example."""


def _convolution_weight(
    layer: nn.Conv2d, weight: Tensor, inputs: Tensor, output_gradients: Tensor, examples: int
) -> Tensor:
    """The gradient of the weight that the convolution used, (B, O, I / groups, kH, kW).

    One weight-gradient convolution an example, with its views as the batch: on a CPU this moves far less memory
    than unfolding the input into patches.  Only where the patches are so few that the calls themselves are what
    costs (8x8 images) are they unfolded, for one batched matrix product.
    """
    # A string as padding may pad one side more than the other; only numbers reach this point (see `unsupported`).
    padding = tuple(int(side) for side in layer.padding)
    patches = weight[0].numel() * output_gradients[0, 0].numel() * (len(inputs) // examples)
    if patches <= _SMALL and layer.groups == 1:
        columns = F.unfold(inputs, weight.shape[2:], layer.dilation, padding, layer.stride)
        products = torch.bmm(output_gradients.flatten(2), columns.transpose(1, 2))
        return products.reshape(examples, -1, *weight.shape).sum(dim=1)
    x = inputs.reshape(examples, -1, *inputs.shape[1:])
    g = output_gradients.reshape(examples, -1, *output_gradients.shape[1:])
    out = weight.new_empty((examples, *weight.shape))
    for index in range(examples):
        out[index] = torch.ops.aten.convolution_backward(
            g[index],
            x[index],
            weight,
            None,
            list(layer.stride),
            padding,
            list(layer.dilation),
            False,
            [0, 0],
            layer.groups,
            [False, True, False],
        )[1]
    return out


def _convolution_bias(output_gradients: Tensor, examples: int) -> Tensor:
    return output_gradients.sum(dim=(2, 3)).reshape(examples, -1, output_gradients.shape[1]).sum(dim=1)


def conv2d(layer: nn.Conv2d, inputs: Tensor, output_gradients: Tensor, examples: int) -> dict[str, Tensor]:
    """inputs (B*K, I, H, W), output_gradients (B*K, O, H', W')."""
    weight = layer.weight.detach().to(inputs.dtype)
    gradients = {"weight": _convolution_weight(layer, weight, inputs, output_gradients, examples)}
    if layer.bias is not None:
        gradients["bias"] = _convolution_bias(output_gradients, examples)
    return gradients


def standardized_conv2d(
    layer: StandardizedConv2d, inputs: Tensor, output_gradients: Tensor, examples: int
) -> dict[str, Tensor]:
    """As a convolution, then through the transposed Jacobian of the standardisation, which is the same for all
    examples: with u = w - mean(w) and v = u / |u|, a gradient G of gain * v becomes gain / |u| * (P G - v <v, G>)
    for w, P removing the mean, and <v, G> for the gain.  Where |u|^2 is under its floor, v's length is constant
    in w and the term with <v, G> is absent."""
    weight = layer.weight.detach()
    used = (standardize(weight) * layer.gain.detach()[:, None, None, None]).to(inputs.dtype)
    g = _convolution_weight(layer, used, inputs, output_gradients, examples).float().flatten(2)
    u = (weight - weight.mean(dim=(1, 2, 3), keepdim=True)).flatten(1)
    square = u.square().sum(dim=1)
    scale = torch.rsqrt(square.clamp_min(1e-4))
    v = u * scale[:, None]
    along = torch.einsum("boi,oi->bo", g, v)
    centered = g - g.mean(dim=2, keepdim=True)
    centered -= torch.where(square > 1e-4, along, torch.zeros_like(along))[:, :, None] * v
    centered *= (layer.gain.detach() * scale)[:, None]
    gradients = {"weight": centered.reshape(examples, *weight.shape), "gain": along}
    if layer.bias is not None:
        gradients["bias"] = _convolution_bias(output_gradients, examples)
    return gradients


def group_norm(layer: nn.GroupNorm, inputs: Tensor, output_gradients: Tensor, examples: int) -> dict[str, Tensor]:
    """inputs and output_gradients (B*K, C, ...)."""
    normalized = F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    positions = tuple(range(2, inputs.dim()))

    def per_example(values: Tensor) -> Tensor:
        values = values.sum(dim=positions) if positions else values
        return values.reshape(examples, -1, inputs.shape[1]).sum(dim=1)

    return {"weight": per_example(output_gradients * normalized), "bias": per_example(output_gradients)}


def layer_norm(layer: nn.LayerNorm, inputs: Tensor, output_gradients: Tensor, examples: int) -> dict[str, Tensor]:
    """inputs and output_gradients (B*K, ..., *normalized_shape)."""
    normalized = F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)

    def per_example(values: Tensor) -> Tensor:
        return values.reshape(examples, -1, *layer.normalized_shape).sum(dim=1)

    gradients = {"weight": per_example(output_gradients * normalized)}
    if layer.bias is not None:
        gradients["bias"] = per_example(output_gradients)
    return gradients


RULES: dict[type[nn.Module], tuple[Rule, frozenset[str]]] = {
    nn.Linear: (linear, frozenset({"weight", "bias"})),
    nn.Conv2d: (conv2d, frozenset({"weight", "bias"})),
    StandardizedConv2d: (standardized_conv2d, frozenset({"weight", "bias", "gain"})),
    nn.GroupNorm: (group_norm, frozenset({"weight", "bias"})),
    nn.LayerNorm: (layer_norm, frozenset({"weight", "bias"})),
}
"""The rule of each class and the parameters that it knows."""


def unsupported(layer: nn.Module) -> str | None:
    """Why ``layer``'s own parameters have no fast rule; None if they have one."""
    kind = type(layer)
    if kind not in RULES:
        return f"{kind.__name__} has no fast rule"
    extra = {name for name, value in layer._parameters.items() if value is not None} - RULES[kind][1]
    if extra:
        return f"{kind.__name__} has the additional parameters {sorted(extra)}"
    if "forward" in layer.__dict__ or layer._forward_hooks or layer._forward_pre_hooks:
        return f"{kind.__name__} has a changed forward or hooks"
    if isinstance(layer, nn.Conv2d) and (layer.padding_mode != "zeros" or isinstance(layer.padding, str)):
        return f"{kind.__name__} pads in a way without a fast rule"
    return None
