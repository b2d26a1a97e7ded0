"""A wide ResNet of this package as a JAX function of the same parameters, for benchmarks beside JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def wide_resnet(model: Any) -> Callable[[dict[str, Any], Any], Any]:
    """(values by torch's names, images (N, H, W, C)) -> logits (N, classes); ReLU before group norm, standardized
    convolutions."""
    groups = {name: module.num_groups for name, module in model.named_modules() if hasattr(module, "num_groups")}
    strides = [block.stride for block in model.blocks]

    def standardized(values: dict[str, Any], name: str) -> Any:
        w = values[f"{name}.weight"]
        u = w - w.mean((1, 2, 3), keepdims=True)
        v = u * jax.lax.rsqrt(jnp.maximum((u * u).sum((1, 2, 3), keepdims=True), 1e-4))
        return (v * values[f"{name}.gain"][:, None, None, None]).transpose(2, 3, 1, 0)

    def convolution(values: dict[str, Any], name: str, x: Any, stride: int = 1) -> Any:
        out = jax.lax.conv_general_dilated(
            x, standardized(values, name), (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return out + values[f"{name}.bias"]

    def activation(values: dict[str, Any], name: str, x: Any) -> Any:
        x = jax.nn.relu(x)
        parts = x.reshape(*x.shape[:3], groups[f"{name}.norm"], -1)
        mean = parts.mean((1, 2, 4), keepdims=True)
        parts = (parts - mean) * jax.lax.rsqrt(parts.var((1, 2, 4), keepdims=True) + 1e-5)
        return parts.reshape(x.shape) * values[f"{name}.norm.weight"] + values[f"{name}.norm.bias"]

    def apply(values: dict[str, Any], images: Any) -> Any:
        out = convolution(values, "stem", images)
        for index, stride in enumerate(strides):
            name = f"blocks.{index}"
            skip = out
            if f"{name}.conv_skip.weight" in values:
                skip = convolution(values, f"{name}.conv_skip", activation(values, f"{name}.act_skip", out), stride)
            out = convolution(values, f"{name}.conv1", activation(values, f"{name}.act1", out), stride)
            out = convolution(values, f"{name}.conv2", activation(values, f"{name}.act2", out)) + skip
        out = activation(values, "act", out).mean((1, 2))
        return out @ values["head.weight"].T + values["head.bias"]

    return apply
