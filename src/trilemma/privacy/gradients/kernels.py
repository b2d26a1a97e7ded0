"""Two steps of the layerwise method as kernels for NVIDIA GPUs, in Triton, which comes with torch there.

With torch's own operations they take most of the time of a private update of a wide ResNet (``docs/results/gpu.md``):
patches of every image are written to memory for the weight gradients of each example, and group norm works on float32
copies, channels first.  Both kernels take channels last, as the GPU's convolutions do.

They compute what one example adds, before it is clipped, so that their rounding is no part of the sensitivity; and they
are compared with the loop before they are used, like everything that the layerwise method does
(``trilemma.privacy.validation``).
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton's interpreter, which tests use on a CPU

triton: Any = None
tl: Any = None
if _INTERPRETED or torch.version.cuda is not None:  # else the import would take its time for nothing
    with contextlib.suppress(ImportError):
        triton, tl = (importlib.import_module(name) for name in ("triton", "triton.language"))

jit: Callable[[Any], Any] = triton.jit if triton is not None else lambda kernel: kernel

_TILE = 2**13  # numbers of an image that a program of group norm holds at once


def available(images: Tensor) -> bool:
    """Whether kernels run where these are: on a GPU, or in Triton's interpreter."""
    return triton is not None and (images.is_cuda or _INTERPRETED)


# ---- weight gradients of a convolution, by example -------------------------------------------------------------------


@jit
def _weight_gradient(  # type: ignore[no-untyped-def]
    inputs,
    gradients,
    result,
    VIEWS: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    DOWN: tl.constexpr,
    ACROSS: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    KERNEL_HEIGHT: tl.constexpr,
    KERNEL_WIDTH: tl.constexpr,
    STRIDE_Y: tl.constexpr,
    STRIDE_X: tl.constexpr,
    PAD_Y: tl.constexpr,
    PAD_X: tl.constexpr,
    DILATION_Y: tl.constexpr,
    DILATION_X: tl.constexpr,
    OUT_TILE: tl.constexpr,
    IN_TILE: tl.constexpr,
    POSITIONS: tl.constexpr,
):
    """For one example, one place in the kernel and one tile of channels: sum_p gradients[p, o] * inputs[seen by p, i].

    ``inputs`` (B, VIEWS, HEIGHT, WIDTH, IN), ``gradients`` (B, VIEWS, DOWN, ACROSS, OUT), ``result`` float32
    (B, OUT, KERNEL_HEIGHT * KERNEL_WIDTH, IN).
    """
    place = tl.program_id(0) % (KERNEL_HEIGHT * KERNEL_WIDTH)
    tile = tl.program_id(0) // (KERNEL_HEIGHT * KERNEL_WIDTH)
    example = tl.program_id(1).to(tl.int64)
    across_tiles: tl.constexpr = (IN + IN_TILE - 1) // IN_TILE
    o = (tile // across_tiles) * OUT_TILE + tl.arange(0, OUT_TILE)
    i = (tile % across_tiles) * IN_TILE + tl.arange(0, IN_TILE)
    below = (place // KERNEL_WIDTH) * DILATION_Y - PAD_Y
    beside = (place % KERNEL_WIDTH) * DILATION_X - PAD_X
    count: tl.constexpr = VIEWS * DOWN * ACROSS
    images = inputs + example * (VIEWS * HEIGHT * WIDTH * IN)
    outputs = gradients + example * (count * OUT)
    total = tl.zeros((OUT_TILE, IN_TILE), dtype=tl.float32)
    for start in range(0, count, POSITIONS):
        p = start + tl.arange(0, POSITIONS)
        y = (p % (DOWN * ACROSS)) // ACROSS * STRIDE_Y + below
        x = p % ACROSS * STRIDE_X + beside
        seen = (p < count) & (y >= 0) & (y < HEIGHT) & (x >= 0) & (x < WIDTH)
        pixel = (p // (DOWN * ACROSS) * HEIGHT + y) * WIDTH + x
        g = tl.load(outputs + p[:, None] * OUT + o[None, :], mask=(p[:, None] < count) & (o[None, :] < OUT), other=0.0)
        v = tl.load(images + pixel[:, None] * IN + i[None, :], mask=seen[:, None] & (i[None, :] < IN), other=0.0)
        total = tl.dot(tl.trans(g), v, total)
    row = (example * OUT + o[:, None]) * (KERNEL_HEIGHT * KERNEL_WIDTH) + place
    tl.store(result + row * IN + i[None, :], total, mask=(o[:, None] < OUT) & (i[None, :] < IN))


def weight_gradients(layer: torch.nn.Conv2d, inputs: Tensor, output_gradients: Tensor, examples: int) -> Tensor:
    """The gradients of a convolution's weight by example, float32 (B, O, I, kH, kW), channels last in memory.

    Args:
      layer: without groups; zeros around its inputs, in equal numbers on both sides.
      inputs: bfloat16 or float16 (B * K, I, H, W).
      output_gradients: of the same type, (B * K, O, H', W').
      examples: B.
    """
    x, g = (t.permute(0, 2, 3, 1).contiguous() for t in (inputs, output_gradients))
    out, below, (height, width) = g.shape[3], x.shape[3], layer.kernel_size
    tiles = [min(128, max(16, triton.next_power_of_2(channels))) for channels in (out, below)]
    wide = max(tiles) > 64
    result = x.new_empty((examples, out, height * width, below), dtype=torch.float32)
    programs = height * width * triton.cdiv(out, tiles[0]) * triton.cdiv(below, tiles[1])
    _weight_gradient[programs, examples](
        x,
        g,
        result,
        len(x) // examples,
        *x.shape[1:3],
        *g.shape[1:3],
        below,
        out,
        height,
        width,
        *layer.stride,
        *layer.padding,
        *layer.dilation,
        *tiles,
        32 if wide else 128,
        num_warps=4,
        num_stages=4 if wide else 3,
    )
    return result.view(examples, out, height, width, below).permute(0, 1, 4, 2, 3)


# ---- group norm, with the gradients of its parameters by view --------------------------------------------------------


@jit
def _by_group(channels, GROUPS: tl.constexpr, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Each channel's number replaced by the sum over its group."""
    sums = tl.sum(tl.reshape(channels, (GROUPS, SIZE)), axis=1)
    return tl.reshape(tl.broadcast_to(sums[:, None], (GROUPS, SIZE)), (GROUPS * SIZE,))


@jit
def _normalize(  # type: ignore[no-untyped-def]
    images,
    weight,
    bias,
    result,
    means,
    inverses,
    epsilon,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """One view: ``images`` and ``result`` (N, PIXELS, CHANNELS), ``means`` and ``inverses`` float32 (N, CHANNELS)."""
    SIZE: tl.constexpr = CHANNELS // GROUPS
    view = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, CHANNELS)
    total = tl.zeros((CHANNELS,), dtype=tl.float32)
    for start in range(0, PIXELS, ROWS):
        p = start + tl.arange(0, ROWS)
        offsets = (view * PIXELS + p[:, None]) * CHANNELS + c[None, :]
        total += tl.sum(tl.load(images + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32), axis=0)
    mean = _by_group(total, GROUPS, SIZE) / (PIXELS * SIZE)
    total = tl.zeros((CHANNELS,), dtype=tl.float32)
    for start in range(0, PIXELS, ROWS):
        p = start + tl.arange(0, ROWS)
        offsets = (view * PIXELS + p[:, None]) * CHANNELS + c[None, :]
        centered = tl.load(images + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32) - mean[None, :]
        total += tl.sum(tl.where(p[:, None] < PIXELS, centered * centered, 0.0), axis=0)
    inverse = 1 / tl.sqrt(_by_group(total, GROUPS, SIZE) / (PIXELS * SIZE) + epsilon)
    tl.store(means + view * CHANNELS + c, mean)
    tl.store(inverses + view * CHANNELS + c, inverse)
    scale = tl.load(weight + c).to(tl.float32) * inverse
    shift = tl.load(bias + c).to(tl.float32)
    for start in range(0, PIXELS, ROWS):
        p = start + tl.arange(0, ROWS)
        offsets = (view * PIXELS + p[:, None]) * CHANNELS + c[None, :]
        x = tl.load(images + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32)
        tl.store(result + offsets, (x - mean[None, :]) * scale[None, :] + shift[None, :], mask=p[:, None] < PIXELS)


@jit
def _normalize_backward(  # type: ignore[no-untyped-def]
    images,
    gradients,
    weight,
    means,
    inverses,
    result,
    weight_gradients,
    bias_gradients,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """One view: with n the normalized image and r = 1 / std, dx = r (w g - mean(w g) - n mean(w g n)), means by group.

    Those means come from what the view adds to the gradients of the weight, sum_p g n, and of the bias, sum_p g.
    """
    SIZE: tl.constexpr = CHANNELS // GROUPS
    view = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, CHANNELS)
    mean = tl.load(means + view * CHANNELS + c)
    inverse = tl.load(inverses + view * CHANNELS + c)
    scale = tl.load(weight + c).to(tl.float32)
    along = tl.zeros((CHANNELS,), dtype=tl.float32)
    total = tl.zeros((CHANNELS,), dtype=tl.float32)
    for start in range(0, PIXELS, ROWS):
        p = start + tl.arange(0, ROWS)
        offsets = (view * PIXELS + p[:, None]) * CHANNELS + c[None, :]
        x = tl.load(images + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32)
        g = tl.load(gradients + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32)
        along += tl.sum(g * (x - mean[None, :]) * inverse[None, :], axis=0)
        total += tl.sum(g, axis=0)
    tl.store(weight_gradients + view * CHANNELS + c, along)
    tl.store(bias_gradients + view * CHANNELS + c, total)
    mean_along = _by_group(scale * along, GROUPS, SIZE) / (PIXELS * SIZE)
    mean_total = _by_group(scale * total, GROUPS, SIZE) / (PIXELS * SIZE)
    for start in range(0, PIXELS, ROWS):
        p = start + tl.arange(0, ROWS)
        offsets = (view * PIXELS + p[:, None]) * CHANNELS + c[None, :]
        x = tl.load(images + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32)
        g = tl.load(gradients + offsets, mask=p[:, None] < PIXELS, other=0.0).to(tl.float32)
        normalized = (x - mean[None, :]) * inverse[None, :]
        change = scale[None, :] * g - mean_total[None, :] - normalized * mean_along[None, :]
        tl.store(result + offsets, change * inverse[None, :], mask=p[:, None] < PIXELS)


def normalizes(layer: torch.nn.GroupNorm) -> bool:
    """Whether the kernels take this layer: it has parameters, and powers of two as channels and groups."""
    powers = all(count & (count - 1) == 0 for count in (layer.num_channels, layer.num_groups))
    return layer.affine and powers and layer.num_channels <= _TILE // 8


Record = Callable[[Tensor, Tensor], None]
"""Is handed the gradients of a group norm's weight and bias by view, float32 (N, C), in the backward pass."""


class GroupNorm(torch.autograd.Function):
    """Group norm of (N, C, H, W), channels last, in the type of its inputs; mean and std are taken in float32.

    Only the inputs have a gradient for autograd; the parameters', by view, go to ``record``.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, layer: torch.nn.GroupNorm, record: Record) -> Tensor:
        x = images.permute(0, 2, 3, 1).contiguous()
        views, height, width, channels = x.shape
        result = torch.empty_like(x)
        means, inverses = (x.new_empty((views, channels), dtype=torch.float32) for _ in range(2))
        ctx.sizes = (height * width, channels, layer.num_groups, max(1, _TILE // channels))
        parameters = (layer.weight.detach(), layer.bias.detach())
        _normalize[(views,)](x, *parameters, result, means, inverses, layer.eps, *ctx.sizes, num_warps=8)
        ctx.save_for_backward(x, parameters[0], means, inverses)
        ctx.record = record
        return result.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, weight, means, inverses = ctx.saved_tensors
        g = gradients[0].permute(0, 2, 3, 1).contiguous()
        result = torch.empty_like(x)
        of_weight, of_bias = torch.empty_like(means), torch.empty_like(means)
        parts = (x, g, weight, means, inverses, result, of_weight, of_bias)
        _normalize_backward[(len(x),)](*parts, *ctx.sizes, num_warps=8)
        ctx.record(of_weight, of_bias)
        return result.permute(0, 3, 1, 2), None, None
