"""The accountant on random settings: against ten times finer cells, against a bound from below, and its time.

Each setting is drawn log-uniformly: noise multiplier 0.5 to 50, sampling probability 1e-6 to 1, updates 1 to a million,
delta 1e-12 to 1e-3.  The lower bound is that of `trilemma.privacy.second_opinion`, which shares nothing with the
accountant but the definition of the mechanism.  "monotone" asks whether epsilon falls with 1 % more noise, and grows
with 1 % more sampling probability and 1 % more updates (at least one).

    python benchmarks/accountant.py --settings 200
    python benchmarks/accountant.py --settings 200 --finer 1   # without the finer cells, which take most of the time
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np

from trilemma.privacy import Event, loss_distribution
from trilemma.privacy.second_opinion import epsilon_at_least


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--settings", type=int, default=60)
    reader.add_argument("--seed", type=int, default=0)
    reader.add_argument("--finer", type=float, default=10.0, help="how many times finer the cells compared with are")
    options = reader.parse_args()
    rng = np.random.default_rng(options.seed)
    print(
        "    sigma          q  updates    delta      epsilon  / finer  / bound from below  monotone  seconds (bound's)"
    )
    worst = {"finer": 1.0, "below": 1.0, "seconds": 0.0, "seconds of the bound": 0.0}
    failures = []
    for _ in range(options.settings):
        sigma = float(np.exp(rng.uniform(math.log(0.5), math.log(50))))
        q, updates = float(10 ** rng.uniform(-6, 0)), round(10 ** rng.uniform(0, 6))
        delta = float(10 ** rng.uniform(-12, -3))
        start = time.process_time()
        epsilon = Event(q, sigma, updates).epsilon(delta)
        middle = time.process_time()
        below = epsilon_at_least(Event(q, sigma, updates), delta)
        seconds, seconds_below = middle - start, time.process_time() - middle
        ratio = 1.0
        if options.finer > 1 and epsilon > 0:
            ratio = epsilon / loss_distribution.epsilon(q, sigma, updates, delta, finer=options.finer)
        gap = epsilon / below if below > 0 else (math.inf if epsilon > 0 else 1.0)
        monotone = (
            Event(q, sigma * 1.01, updates).epsilon(delta) <= epsilon
            and epsilon <= Event(min(q * 1.01, 1.0), sigma, updates).epsilon(delta)
            and epsilon <= Event(q, sigma, math.ceil(updates * 1.01)).epsilon(delta)
        )
        print(
            f"{sigma:9.4f}  {q:9.3g}  {updates:7d}  {delta:7.1e}  {epsilon:11.5g}  {ratio:7.5f}  {gap:18.6f}"
            f"  {'yes' if monotone else 'NO':>8}  {seconds:7.2f} ({seconds_below:.2f})",
            flush=True,
        )
        worst["finer"] = max(worst["finer"], ratio)
        worst["below"] = max(worst["below"], gap)
        worst["seconds"] = max(worst["seconds"], seconds)
        worst["seconds of the bound"] = max(worst["seconds of the bound"], seconds_below)
        if not monotone or below > epsilon:
            failures.append((sigma, q, updates, delta))
    print("worst:", ", ".join(f"{name} {value:.4g}" for name, value in worst.items()))
    print(f"not monotone, or below the bound from below: {len(failures)} of {options.settings}", *failures)


if __name__ == "__main__":
    main()
