"""What a network's convolutions alone allow an update that forms every example's weight gradients.

    python benchmarks/convolution_floor.py [--model wrn-16-4] [--shapes 1x32,4x16,16x8] [--rounds 7]

For every convolution of the network, on inputs of its size: forward pass, gradient of the inputs, and the gradient of
the weights, once for the whole batch with all cores, or once an example, parts of the batch on one core each, as the
package forms them: the first ratio.  No layers but convolutions.  The second ratio adds what clipping cannot do
without: each gradient's norm, and, with all norms known, the sum of the gradients times their factors.  Where not
forming gradients is cheaper (ghost norms) an update may lie below this floor.  Interleaved; medians with quartiles.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from private_update import network, spread
from trilemma.privacy.gradients.rules import convolution_weights, row_squares
from trilemma.threads import in_threads


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def backward(layer: nn.Conv2d, x: Tensor, g: Tensor, wanted: list[bool]) -> None:
    torch.ops.aten.convolution_backward(
        g, x, layer.weight, None, list(layer.stride), list(layer.padding), [1, 1], False, [0, 0], 1, wanted
    )


def sizes(model: nn.Module) -> list[tuple[nn.Conv2d, torch.Size, torch.Size]]:
    """(convolution, shape of its inputs, of its outputs) for one image."""
    layers: list[tuple[nn.Conv2d, torch.Size, torch.Size]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda layer, x, y: layers.append((layer, x[0].shape[1:], y.shape[1:])))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    return layers


def ratios(model: nn.Module, views: int, examples: int) -> tuple[float, float]:
    threads = torch.get_num_threads()
    layers = [
        (layer, torch.randn(examples * views, *into), torch.randn(examples * views, *out))
        for layer, into, out in sizes(model)
    ]
    size = -(-examples // threads)

    def each_example(start: int, clipped: bool) -> None:
        rows = slice(start * views, min(start + size, examples) * views)
        results = []
        for layer, x, g in layers:
            for gradients in convolution_weights(layer, x[rows], g[rows], len(x[rows]) // views):
                if clipped:
                    row_squares(gradients.flatten(2))
                    results.append(gradients)
        for gradients in results:
            torch.ones(len(gradients)) @ gradients.flatten(1)

    def all_examples(clipped: bool) -> None:
        list(in_threads(lambda start: each_example(start, clipped), range(0, examples, size), threads))

    with torch.no_grad():
        shared = seconds(lambda: [nn.functional.conv2d(x, c.weight, c.bias, c.stride, c.padding) for c, x, _ in layers])
        shared += seconds(lambda: [backward(c, x, g, [True, False, False]) for c, x, g in layers])
        whole = shared + seconds(lambda: [backward(c, x, g, [False, True, False]) for c, x, g in layers])
        formed, clipped = seconds(lambda: all_examples(False)), seconds(lambda: all_examples(True))
    return (shared + formed) / whole, (shared + clipped) / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wrn-16-4")
    parser.add_argument("--shapes", default="1x32,4x16,16x8")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for shape in arguments.shapes.split(","):
        views, examples = map(int, shape.split("x"))
        layers = []
        for _ in range(arguments.rounds + 1):
            layers.append(ratios(network(arguments.model, standardized=False), views, examples))
        formed, clipped = map(list, zip(*layers[1:], strict=True))
        print(
            f"{arguments.model} K={views} B={examples}: {spread(formed)}, with norms and sums {spread(clipped)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
