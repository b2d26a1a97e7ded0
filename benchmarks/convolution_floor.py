"""What a network's convolutions alone allow an update that forms every example's weight gradients.

    python benchmarks/convolution_floor.py [--model wrn-16-4] [--shapes 1x32,4x16,16x8] [--rounds 7]

For every convolution of the network, on inputs of its size: forward pass, gradient of the inputs, and the gradient of
the weights, once for the whole batch with all cores, or once an example, parts of the batch on one core each, as the
package forms them.  No norms, no sums, no layers but convolutions.  Where not forming gradients is cheaper (ghost
norms) an update may lie below this floor.  Interleaved; medians with quartiles over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from private_update import network
from trilemma.privacy.rules import convolution_weights
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
    found: list[tuple[nn.Conv2d, torch.Size, torch.Size]] = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda layer, x, y: found.append((layer, x[0].shape[1:], y.shape[1:])))
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))
    return found


def ratio(model: nn.Module, views: int, examples: int) -> float:
    threads = torch.get_num_threads()
    calls = [
        (layer, torch.randn(examples * views, *into), torch.randn(examples * views, *out))
        for layer, into, out in sizes(model)
    ]
    size = -(-examples // threads)

    def each_example(start: int) -> None:
        rows = slice(start * views, min(start + size, examples) * views)
        for layer, x, g in calls:
            for _ in convolution_weights(layer, x[rows], g[rows], len(x[rows]) // views):
                pass

    with torch.no_grad():
        shared = seconds(lambda: [nn.functional.conv2d(x, c.weight, c.bias, c.stride) for c, x, _ in calls])
        shared += seconds(lambda: [backward(c, x, g, [True, False, False]) for c, x, g in calls])
        whole = shared + seconds(lambda: [backward(c, x, g, [False, True, False]) for c, x, g in calls])
        once = shared + seconds(lambda: list(in_threads(each_example, range(0, examples, size), threads)))
    return once / whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wrn-16-4")
    parser.add_argument("--shapes", default="1x32,4x16,16x8")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    for shape in arguments.shapes.split(","):
        views, examples = map(int, shape.split("x"))
        found = []
        for _ in range(arguments.rounds + 1):
            found.append(ratio(network(arguments.model, standardized=False), views, examples))
        low, middle, high = statistics.quantiles(found[1:], n=4)
        print(f"{arguments.model} K={views} B={examples}: {middle:.3f} [{low:.3f}, {high:.3f}]", flush=True)


if __name__ == "__main__":
    main()
