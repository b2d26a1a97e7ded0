"""What an update of ``prior-conv`` costs, with and without a budget, on one core.

    python benchmarks/map_update.py [--models prior-conv,prior-conv-32] [--rounds 20] [--examples 256]

The sides are computed in turn, in one process with one thread; times are of the processor, so that other work on the
machine costs less than it would on the clock.  *Plain* is a forward and backward pass over batches of 128; *private*
the clipped sum over the same examples.  The target is 2,500 examples a second, and at most 1.3 times that with a
budget.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from trilemma.machine import keep_freed_memory
from trilemma.models import build, network_inputs
from trilemma.privacy import Clipping

_BATCH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="prior-conv,prior-conv-32")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--examples", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    print("| model | parameters | plain, examples/s (median, quartiles) | private | ratio (median, quartiles) |")
    print("|---|---|---|---|---|")
    for model in options.models.split(","):
        for standardized in (False, True):
            show(model, standardized, options.rounds, options.examples)


def show(model: str, standardized: bool, rounds: int, examples: int) -> None:
    """One line of the table."""
    network = build(
        model,
        classes=10,
        image_shape=(3, 32, 32),
        norm="group",
        groups=8,
        standardized=standardized,
        generator=torch.Generator().manual_seed(0),
    )
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(examples, 1, *network_inputs(model, (3, 32, 32)), generator=generator)
    labels = torch.randint(0, 10, (examples,), generator=generator)
    clipping, parameters = Clipping(network, 1.0), list(network.parameters())

    def plain() -> None:
        for x, y in zip(maps[:, 0].split(_BATCH), labels.split(_BATCH), strict=True):
            torch.autograd.grad(torch.nn.functional.cross_entropy(network(x), y), parameters)

    def private() -> None:
        clipping(maps, labels)

    times: dict[str, list[float]] = {"plain": [], "private": []}
    for _ in range(rounds + 2):
        for name, compute in (("plain", plain), ("private", private)):
            began = time.process_time()
            compute()
            times[name].append(time.process_time() - began)
    ours, theirs = times["private"][2:], times["plain"][2:]
    rates = [spread([examples / s for s in side], ",.0f") for side in (theirs, ours)]
    ratio = spread([a / b for a, b in zip(ours, theirs, strict=True)], ".2f")
    count = sum(p.numel() for p in parameters)
    print(f"| {model}{', WS' if standardized else ''} | {count:,} | {rates[0]} | {rates[1]} | {ratio} |", flush=True)


def spread(values: list[float], form: str) -> str:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


if __name__ == "__main__":
    main()
