"""Does peak memory grow with the logical batch?

    python benchmarks/logical_batch.py [--model convnet] [--batches 256,1024,4096,16384] [--memory 200MB]

For each size B of the logical batch a process of its own makes one private update, and says what it took at its peak
beyond network and images (which are noise: what is in them takes no memory), with the default memory and with less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from private_update import resident


def measure(model: str, batch: int, memory: str | None) -> None:
    import numpy as np

    from trilemma.data.dataset import Dataset, Split
    from trilemma.training.execution import Execution
    from trilemma.training.loop import Training
    from trilemma.training.memory import parse_memory
    from trilemma.training.recipe import Recipe

    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (20_000, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, 20_000))
    data = Dataset("noise", split, split.take(np.arange(100)), tuple(map(str, range(10))))
    recipe = Recipe(model=model, techniques=("gn", "ws"), epsilon=8.0, batch_size=batch, epochs=1.0)
    limit = None if memory is None else parse_memory(memory)
    training = Training(recipe, data, Execution("cpu", compute="float32", memory=limit))
    before = resident("VmRSS")
    training.step()
    print(json.dumps([training.physical_batch, resident("VmHWM") - before]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--batches", default="256,1024,4096,16384")
    parser.add_argument("--memory", default="20MB")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--default", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.model, options.one, None if options.default else options.memory)
        return
    print(f"{options.model}, float32, one view; MB at the peak beyond network and images")
    print(f"| logical batch | physical batch | peak, MB | physical batch, --memory {options.memory} | peak, MB |")
    print("|---|---|---|---|---|")
    for batch in map(int, options.batches.split(",")):
        cells = [str(batch)]
        for more in (["--default"], []):
            command = [
                sys.executable,
                __file__,
                "--model",
                options.model,
                "--memory",
                options.memory,
                "--one",
                str(batch),
            ]
            physical, peak = json.loads(subprocess.run(command + more, check=True, capture_output=True).stdout)
            cells += [str(physical), f"{peak:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
