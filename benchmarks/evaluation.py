"""Outputs for many images: a few at a time on each core, as a training is evaluated, or many at a time on all cores.

    python benchmarks/evaluation.py [--models convnet,wrn-16-4] [--images 2048] [--rounds 6]

Networks with group norm and weight standardization at their initial weights, on random images of 32 x 32 pixels; both
sides must give the same outputs.  Interleaved; medians with quartiles, ratios within a round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from private_update import network, spread
from trilemma.threads import in_threads, threads

FEW, MANY = 32, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: text.split(","), default="convnet,wrn-16-4")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, {arguments.images} images, {arguments.rounds} rounds")
    print(f"| | {MANY} on all cores, s | {FEW} on each core, s | ratio |\n|---|---|---|---|")
    for name in arguments.models:
        model = network(name).eval()
        images = torch.randn(arguments.images, 3, 32, 32)

        def output(part: Tensor) -> Tensor:
            with torch.no_grad():  # which is each thread's own
                return model(part)  # type: ignore[no-any-return]  # noqa: B023

        sides: list[Callable[[], Tensor]] = [
            lambda: torch.cat([output(part) for part in images.split(MANY)]),  # noqa: B023
            lambda: torch.cat([*in_threads(output, images.split(FEW), threads())]),  # noqa: B023
        ]
        torch.testing.assert_close(sides[0](), sides[1](), rtol=1e-4, atol=1e-5)
        seconds: list[list[float]] = [[], []]
        for _ in range(arguments.rounds):
            for side, taken in zip(sides, seconds, strict=True):
                start = time.perf_counter()
                side()
                taken.append(time.perf_counter() - start)
        many, few = (statistics.median(taken) for taken in seconds)
        print(
            f"| {name} | {many:.2f} | {few:.2f} | {spread([b / a for a, b in zip(*seconds, strict=True)])} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
