"""Per-example gradients of single layers, from a layer's inputs and the gradients of its outputs.

Each rule takes the tensors of one call of a layer on B * K views, those of one example side by side, and returns
for each parameter the gradient of each example, summed over its views: float32 or the compute type, (B, *shape).
A rule belongs to exactly one class: a subclass may compute something else, so it gets no rule by inheritance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trilemma.privacy.gradients import kernels
from trilemma.standardization import StandardizedConv2d

Rule = Callable[..., dict[str, Tensor]]
"""(layer, inputs, output_gradients, examples) -> gradients by name."""


def on_cpu(tensor: Tensor) -> bool:
    """Whether every part of a clipped sum takes the choices that are fastest on a CPU.

    Nothing else asks for the device, so that a test on a CPU can take the choices of a GPU.
    """
    return tensor.device.type == "cpu"


_BLOCK = 256
"""Numbers whose squares are summed in float32; the error of such a sum grows with their number."""


def row_squares(gradients: Tensor) -> Tensor:
    """Squared norms along the last dimension, float64.

    On a CPU they come from float32 norms of blocks of a row, to a millionth for rows of any length; and from float64
    norms, which take several times as long, for rows whose squares would overflow or vanish, and so drop an example or
    leave it unclipped.
    """
    if not on_cpu(gradients):  # float64 is as fast there, and nothing has to be waited for
        norms: Tensor = torch.linalg.vector_norm(gradients, dim=-1, dtype=torch.float64)
        return norms.square()
    if gradients.stride(-1) != 1:  # such sums are made one number after the other, and are several times less exact
        gradients = gradients.contiguous()
    length = gradients.shape[-1]
    blocks = max(1, -(-length // _BLOCK))
    if length % blocks == 0:  # blocks of one size, which take a third of the time of large ones and a rest
        squares = _squares(gradients.unflatten(-1, (blocks, length // blocks))).sum(-1)
    else:
        whole = length - length % _BLOCK
        squares = _squares(gradients[..., whole:])
        squares += _squares(gradients[..., :whole].unflatten(-1, (-1, _BLOCK))).sum(-1)
    outside = ~((squares > 1e-30) & (squares < 1e30))
    if bool(outside.any()):
        squares[outside] = torch.linalg.vector_norm(gradients[outside], dim=-1, dtype=torch.float64).square()
    return squares


def _squares(blocks: Tensor) -> Tensor:
    """Squared norms along the last dimension, float64, from float32 sums."""
    norms: Tensor = torch.linalg.vector_norm(blocks, dim=-1)
    return norms.double().square()


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

_POSITIONS = 64
"""Positions of an example's views up to which it is, too."""

MAP, _VIEWS_ON_MAP = 128, 512
"""Positions of a view, and of all views of an example, up to which patches with channels last are faster still, for
layers with :data:`CHANNELS` inputs: a place in the kernel is then copied as a run of neighboring numbers."""

_FEW_WEIGHTS, CHANNELS = 40_000, 16
"""Weights up to which, and input channels from which, a convolution with a group an example is faster."""

_CACHED = 2**19
"""Float32 numbers that a core's cache holds."""


def convolution_backward(
    layer: nn.Conv2d, weight: Tensor, inputs: Tensor, output_gradients: Tensor, *, groups: int
) -> Tensor:
    """The gradient of ``weight`` (O, I / groups, kH, kW), summed over all views."""
    # A string as padding may pad one side more than the other; only numbers reach this point (see `unsupported`).
    gradient: Tensor = torch.ops.aten.convolution_backward(
        output_gradients,
        inputs,
        weight,
        None,
        list(layer.stride),
        [int(side) for side in layer.padding],
        list(layer.dilation),
        False,
        [0, 0],
        groups,
        [False, True, False],
    )[1]
    return gradient


def padded(layer: nn.Conv2d, inputs: Tensor) -> Tensor:
    """The inputs with the zeros that the convolution puts around them."""
    vertical, horizontal = (int(side) for side in layer.padding)
    return F.pad(inputs, (horizontal, horizontal, vertical, vertical)) if vertical or horizontal else inputs


def _patches(layer: nn.Conv2d, inputs: Tensor, positions: torch.Size, examples: int) -> Tensor:
    """What each of an example's positions sees, (B, I * kH * kW, K * H' * W').

    It is copied once, from a strided view that has every pixel as often as it is seen.
    """
    x = padded(layer, inputs).contiguous().unflatten(0, (examples, -1))
    example, view, channel, row, column = x.stride()
    (down, across), (below, beside) = layer.stride, layer.dilation
    shape = (examples, x.shape[2], *layer.kernel_size, x.shape[1], *positions)
    steps = (example, channel, below * row, beside * column, view, down * row, across * column)
    seen: Tensor = x.as_strided(shape, steps)
    return seen.reshape(examples, -1, x.shape[1] * positions.numel())


def _on_small_maps(layer: nn.Conv2d, inputs: Tensor, output_gradients: Tensor, examples: int) -> Iterator[Tensor]:
    """Gradients (n, O, I, kH, kW) of a convolution without groups, channels last in memory.

    Each is a product: output gradients, (O, K * H' * W'), times what the positions see, (K * H' * W', kH * kW * I).
    """
    views, weights, (height, width) = len(inputs) // examples, layer.weight[0].numel(), inputs.shape[2:]
    g = output_gradients.unflatten(0, (examples, views)).transpose(1, 2).flatten(2)
    several = min(examples, max(1, _CACHED // (g.shape[2] * weights + layer.weight.numel())))
    # The same memory for every part: padded inputs, a view that has each pixel as often as it is seen, and its copy.
    top, left = (int(side) for side in layer.padding)
    pixels = inputs.new_zeros(several * views, height + 2 * top, width + 2 * left, inputs.shape[1])
    within = pixels[:, top : top + height, left : left + width]
    view, row, column, channel = pixels.stride()
    (down, across), (below, beside) = layer.stride, layer.dilation
    shape = (len(pixels), *output_gradients.shape[2:], *layer.kernel_size, inputs.shape[1])
    seen = pixels.as_strided(shape, (view, down * row, across * column, below * row, beside * column, channel))
    patches = torch.empty_like(seen, memory_format=torch.contiguous_format)
    for x, part in zip(inputs.permute(0, 2, 3, 1).split(several * views), g.split(several), strict=True):
        within[: len(x)].copy_(x)
        patches[: len(x)].copy_(seen[: len(x)])
        gradients = torch.bmm(part, patches[: len(x)].view(len(part), -1, weights))
        in_kernel = gradients.view(len(part), layer.out_channels, *layer.kernel_size, layer.in_channels)
        yield in_kernel.permute(0, 1, 4, 2, 3)


def convolution_weights(layer: nn.Conv2d, inputs: Tensor, output_gradients: Tensor, examples: int) -> Iterator[Tensor]:
    """The gradients of the weight that the convolution used, as many examples at a time as a processor's cache holds.

    Each item is (n, O, I / groups, kH, kW), for the next n examples.

    One weight-gradient convolution an example, with its views as the batch: on a CPU this moves far less memory
    than unfolding the input into patches.  Only where patches or positions are few (8x8 images) are they unfolded, for
    one batched matrix product (with channels last on maps of many channels); and on a GPU, which small calls would
    leave idle (this was reasoned, not measured).  Few weights, with one view an example, are one convolution with a
    group for each example, which saves the calls.

    On a CPU they are computed in float32 whatever the layer computed in: faster there than in bfloat16, and exact.
    """
    cpu = on_cpu(inputs)
    if cpu and inputs.dtype in (torch.bfloat16, torch.float16):
        inputs, output_gradients = inputs.float(), output_gradients.float()
    weight = layer.weight.detach().to(inputs.dtype)
    views = len(inputs) // examples
    positions = output_gradients[0, 0].numel() * views
    in_view = output_gradients[0, 0].numel()
    if cpu and layer.groups == 1 and layer.in_channels >= CHANNELS and in_view <= MAP and positions <= _VIEWS_ON_MAP:
        yield from _on_small_maps(layer, inputs, output_gradients, examples)
        return
    half = inputs.dtype in (torch.bfloat16, torch.float16)
    if not cpu and half and layer.groups == 1 and kernels.available(inputs):
        yield kernels.weight_gradients(layer, inputs, output_gradients, examples)
        return
    few = positions <= _POSITIONS or weight[0].numel() * positions <= _SMALL or not cpu
    if few and layer.groups == 1:
        patches = _patches(layer, inputs, output_gradients.shape[2:], examples)
        gradients = output_gradients.unflatten(0, (examples, views)).transpose(1, 2).flatten(2)
        yield torch.bmm(gradients, patches.mT).reshape(examples, *weight.shape)
    elif views == 1 and weight.numel() <= _FEW_WEIGHTS and weight.shape[1] >= CHANNELS:
        joined = (x.reshape(1, -1, *x.shape[2:]) for x in (inputs, output_gradients))
        together = convolution_backward(
            layer, weight.repeat(examples, 1, 1, 1), *joined, groups=layer.groups * examples
        )
        yield together.reshape(examples, *weight.shape)
    else:
        parts = zip(inputs.split(views), output_gradients.split(views), strict=True)
        one_by_one = (convolution_backward(layer, weight, x, g, groups=layer.groups) for x, g in parts)
        while several := list(itertools.islice(one_by_one, max(1, _CACHED // weight.numel()))):
            yield torch.stack(several) if len(several) > 1 else several[0][None]


def convolution_bias(output_gradients: Tensor, examples: int) -> Tensor:
    """The gradient of a convolution's bias, (B, O)."""
    return output_gradients.sum(dim=(2, 3)).reshape(examples, -1, output_gradients.shape[1]).sum(dim=1)


def conv2d(layer: nn.Conv2d, inputs: Tensor, output_gradients: Tensor, examples: int) -> dict[str, Tensor]:
    """inputs (B*K, I, H, W), output_gradients (B*K, O, H', W')."""
    gradients = {"weight": torch.cat([*convolution_weights(layer, inputs, output_gradients, examples)])}
    if layer.bias is not None:
        gradients["bias"] = convolution_bias(output_gradients, examples)
    return gradients


@dataclass(frozen=True, eq=False)
class Standardization:
    """The transposed Jacobian of a standardized convolution's weight, the same for all examples.

    With u = w - mean(w), s = gain / |u| and v = u / |u|, a gradient G of the weight used, gain * v, becomes
    s * (P G - v <v, G>) for w, P removing the mean, and <v, G> for the gain; all by output channel.  Where |u|^2 is
    under its floor, v's length is constant in w and the term with <v, G> is absent from the first.

    Attributes:
      v: float32 (O, n).
      scale: s, float32 (O,).
      free: float32 (O,), 1 where |u|^2 is above its floor, else 0.
    """

    v: Tensor
    scale: Tensor
    free: Tensor

    @classmethod
    def of(cls, layer: StandardizedConv2d, *, channels_last: bool = False) -> Standardization:
        """With ``channels_last``, n counts places in the kernel first."""
        weight = layer.weight.detach()
        weight = weight.permute(0, 2, 3, 1) if channels_last else weight
        u = (weight - weight.mean(dim=(1, 2, 3), keepdim=True)).flatten(1)
        square = u.square().sum(dim=1)
        inverse = torch.rsqrt(square.clamp_min(1e-4))
        return cls(u * inverse[:, None], layer.gain.detach() * inverse, (square > 1e-4).to(u))

    def pull_back(self, used: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the weight used, (..., O, n), to those of the weight, of that shape, and the gain, (..., O)."""
        along = (used * self.v).sum(-1)
        centered = used - used.mean(dim=-1, keepdim=True)
        centered -= (self.free * along)[..., None] * self.v
        return centered * self.scale[:, None], along

    def squares(self, used: Tensor) -> Tensor:
        """The squared norms, float64 (n,), of what ``pull_back`` gives for n examples' float32 (n, O, in)."""
        rows = row_squares(used)
        squares = self.from_sums(rows, (used * self.v).sum(2).double(), used.sum(2).double())
        # What is left where much larger numbers have been subtracted is not exact enough.
        if bool(((self.scale.double().square() * rows).sum(1) > 100 * squares).any()):
            weight, gain = self.pull_back(used.double())
            squares = weight.square().sum((1, 2)) + gain.square().sum(1)
        return squares

    def from_sums(self, square: Tensor, along: Tensor, total: Tensor) -> Tensor:
        """The same from |G|^2, <v, G> and <1, G>: float64 (..., O)."""
        inside = square - total.square() / self.v.shape[1] - self.free * along.square()
        return (self.scale.double().square() * inside.clamp_min(0) + along.square()).sum(-1)


def standardized_conv2d(
    layer: StandardizedConv2d, inputs: Tensor, output_gradients: Tensor, examples: int
) -> dict[str, Tensor]:
    """As a convolution, then through the transposed Jacobian of the standardization."""
    used = torch.cat([*convolution_weights(layer, inputs, output_gradients, examples)])
    weight, gain = Standardization.of(layer).pull_back(used.float().flatten(2))
    gradients = {"weight": weight.reshape(examples, *layer.weight.shape), "gain": gain}
    if layer.bias is not None:
        gradients["bias"] = convolution_bias(output_gradients, examples)
    return gradients


Moments = tuple[Tensor, Tensor]
"""Mean and 1 / std of each group of each view, (B*K, groups)."""


def group_norm(
    layer: nn.GroupNorm, inputs: Tensor, output_gradients: Tensor, examples: int, moments: Moments | None = None
) -> dict[str, Tensor]:
    """inputs and output_gradients (B*K, C, ...).

    The channels of all views are passed to torch as those of one view, since its own gradient adds up views; where they
    come last, that would need copies, and sums over the positions take no longer.
    """
    views, channels, groups = len(inputs), layer.num_channels, layer.num_groups
    x, g = (t if t.dtype == torch.float64 else t.float() for t in (inputs, output_gradients))
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    x = x if last else x.contiguous()
    positions = x[0, 0].numel()
    mean, rstd = moments or torch.native_group_norm(x, None, None, views, channels, positions, groups, layer.eps)[1:]
    if last:
        mean, rstd = (t.to(x.dtype).repeat_interleave(channels // groups, dim=1) for t in (mean, rstd))
        bias = g.sum((2, 3))
        weight = ((g * x).sum((2, 3)) - bias * mean) * rstd
    else:
        _, weight, bias = torch.ops.aten.native_group_norm_backward(
            *(t.to(x.dtype).reshape(1, -1) for t in (g, x, mean, rstd)),
            x.new_ones(views * channels),
            1,
            views * channels,
            positions,
            views * groups,
            [False, True, True],
        )
    return {name: t.reshape(examples, -1, channels).sum(1) for name, t in (("weight", weight), ("bias", bias))}


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
