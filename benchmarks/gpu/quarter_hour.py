"""What one quarter of an hour on a GPU should be spent on, in one command.

    python benchmarks/gpu/quarter_hour.py --minutes 12 --out DIR [--data-dir DATA] [--resume RUN]

In this order, and everything is written to ``DIR/quarter_hour.json`` and ``.md`` after each line, so that a cut loses
nothing but what was being measured:

a. *exact*: clipped sums of every method on the device against per-example gradients in float64; the spread of the
   noise that is added there; that an update is the noised sum divided, times the rate.
b. *costs*: private, plain and Opacus updates of WRN-16-4 at K = 1, 4 and 16, in float32 and bfloat16, with memory.
c. *whole*: updates a second at B = 4,096 and K = 16, the time of 2,500 of them, and a profile by operation.
d. *accuracy*: the recipe ``cifar10-wrn-16-4-eps8`` for the minutes that are left, in ``DIR/run``; its checkpoint is in
   files of at most 16 MB.  ``--resume RUN`` goes on with one that an earlier quarter of an hour has left.

What fails, or is not here (Opacus, CIFAR-10), is written down as "not measured" with the reason, and the rest goes on.
``--tiny`` is for a test on a CPU.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trilemma.models import build
from trilemma.privacy import Clipping, RandomStream
from trilemma.privacy.gradients.arithmetic import exact_convolutions
from trilemma.privacy.noise import add_gaussian_noise
from trilemma.privacy.validation import known_check

Row = dict[str, Any]
_LARGEST = 16 * 2**20  # bytes of a file that may be carried away
_LEAST_MINUTES = 0.5  # for a training to be worth its start


@dataclass
class Sizes:
    """How large everything is.

    Attributes:
      model: of all parts.
      exact: examples and views of part a.
      costs: physical batch by K, for part b.
      logical, physical, views: of the whole update of part c.
      rounds: of which the median is taken.
      training: further arguments of part d.
    """

    model: str = "wrn-16-4"
    exact: tuple[int, int] = (8, 2)
    costs: dict[int, int] = field(default_factory=lambda: {1: 1024, 4: 256, 16: 64})
    logical: int = 4096
    physical: int = 512
    views: int = 16
    rounds: int = 5
    training: tuple[str, ...] = ("--recipe", "cifar10-wrn-16-4-eps8")


_TINY = Sizes(
    "wrn-10-1",
    (3, 2),
    {1: 4, 2: 2},
    logical=8,
    physical=4,
    views=2,
    rounds=1,
    training=("--data", "digits", "--limit", "60", "--test-limit", "60", "--model", "convnet-4", "--epsilon", "8",
              "--batch-size", "20", "--epochs", "1", "--reproducible"),
)  # fmt: skip


@dataclass
class Notebook:
    """What was measured so far, by part, written down line by line."""

    folder: Path
    parts: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, part: str, row: Row) -> None:
        self.parts.setdefault(part, []).append(row)
        print(f"{part}: {row}", flush=True)
        for name, text in (("quarter_hour.json", json.dumps(self.parts, indent=1)), ("quarter_hour.md", self.table())):
            fresh = self.folder / f"{name}.part"
            fresh.write_text(text, "utf-8")
            os.replace(fresh, self.folder / name)

    def table(self) -> str:
        lines: list[str] = []
        for part, rows in self.parts.items():
            keys = list(dict.fromkeys(key for row in rows for key in row))
            lines += [f"## {part}", "", f"| {' | '.join(keys)} |", "|" + "---|" * len(keys)]
            lines += [f"| {' | '.join(str(row.get(key, '')).replace('|', '/') for key in keys)} |" for row in rows]
            lines.append("")
        return "\n".join(lines)


def network(sizes: Sizes, device: str) -> nn.Module:
    """With group norm and standardized weights, away from its initial weights."""
    generator = torch.Generator().manual_seed(0)
    choices = {"norm": "group", "groups": 16, "standardized": True, "generator": generator}
    model = build(sizes.model, classes=10, image_shape=(3, 32, 32), **choices)  # type: ignore[arg-type]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.1 * p.abs().mean().clamp_min(0.1))
    return model.to(device)


def batch(examples: int, views: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(examples, views, 3, 32, 32, generator=generator)
    return images.to(device), torch.randint(0, 10, (examples,), generator=generator).to(device)


# ---- a ---------------------------------------------------------------------------------------------------------------


def oracle(model: nn.Module, images: Tensor, labels: Tensor, clip: float) -> dict[str, Tensor]:
    """The clipped sum in float64 on the CPU, one example after the other."""
    twin = copy.deepcopy(model).double().cpu()
    for layer in twin.modules():
        if isinstance(layer, nn.Linear):  # the network has rounded their inputs to float32
            layer.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    names, parameters = zip(*twin.named_parameters(), strict=True)
    total = {name: torch.zeros_like(p) for name, p in twin.named_parameters()}
    for views, label in zip(images.double().cpu(), labels.cpu(), strict=True):
        loss = nn.functional.cross_entropy(twin(views), label.expand(len(views)))
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        for name, g in zip(names, gradients, strict=True):
            total[name] += g * min(1.0, clip / norm)
    return total


def exact(sizes: Sizes, device: str) -> Iterator[Row]:
    model, (images, labels) = network(sizes, device), batch(*sizes.exact, device)
    norms = Clipping(model, 1.0, "loop")(images, labels).norms
    clip = float(norms.median())
    expected = oracle(model, images, labels, clip)
    scale = math.sqrt(sum(float(v.square().sum()) for v in expected.values()))
    total = Clipping(model, clip)(images, labels)

    def off(method: str, autocast: torch.dtype | None = None) -> float:
        sums = Clipping(model, clip, method, autocast=autocast)(images, labels).sums  # type: ignore[arg-type]
        return math.sqrt(sum(float((sums[n].double().cpu() - v).square().sum()) for n, v in expected.items())) / scale

    reason = known_check(model, tuple(images.shape[2:]), images.device).reason
    yield {"what": "the layerwise method is chosen", "value": reason or "yes", "passed": reason is None}
    for method in ("layerwise", "loop"):
        with exact_convolutions():
            value = off(method)
        # On an H200 the layerwise method was 2e-6 away, and the loop, by torch's own operations, 3e-4: it failed.
        yield {"what": f"clipped sum, {method}, against float64", "value": value, "passed": value < 1e-4}
        yield {"what": f"the same with convolutions rounded to TF32, {method}", "value": off(method)}
    half = {method: off(method, torch.bfloat16) for method in ("layerwise", "loop")}
    for method, value in half.items():  # rounded at the same places, so about as far from what is exact
        what = f"clipped sum in bfloat16, {method}, against float64"
        yield {"what": what, "value": value, "passed": value < 1.5 * half["loop"]}
    stream = RandomStream.keyed(b"a quarter of an hour")
    noisy = add_gaussian_noise(total.sums, standard_deviation=3.0, stream=stream)
    noise = torch.cat([(noisy[n] - total.sums[n]).flatten().double().cpu() for n in noisy])
    # A standard deviation of n normals has a standard error of std / sqrt(2 n): 5 of them, false alarm 6e-7.
    limit = 5 * 3.0 / math.sqrt(2 * len(noise))
    yield {
        "what": "std of the noise, 3 was asked",
        "value": float(noise.std()),
        "passed": bool(abs(noise.std() - 3) < limit),
    }
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.sub_(noisy[name], alpha=0.1 / len(labels))
    off = max(
        float((p.detach() - (before[n] - noisy[n] * (0.1 / len(labels)))).abs().max())
        for n, p in model.named_parameters()
    )
    devices = {p.device.type for p in model.parameters()} | {v.device.type for v in noisy.values()}
    here = devices == {torch.device(device).type}
    yield {"what": "update on the device, largest difference", "value": off, "passed": here and off < 1e-5}


# ---- b ---------------------------------------------------------------------------------------------------------------


def measured(compute: Callable[[], object], rounds: int, device: str) -> Row:
    """Median seconds and the most memory of a call, after one to warm up."""
    cuda = torch.device(device).type == "cuda"
    compute()
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        compute()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    memory = round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None
    return {"seconds": statistics.median(seconds), "MiB": memory}


def plain_update(model: nn.Module, images: Tensor, labels: Tensor, autocast: torch.dtype | None) -> None:
    with torch.autocast(images.device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        logits = model(images.flatten(0, 1))
    loss = nn.functional.cross_entropy(logits.float(), labels.repeat_interleave(images.shape[1]))
    torch.autograd.grad(loss, list(model.parameters()))


def opacus_update(model: nn.Module) -> Callable[[Tensor, Tensor], None]:
    """Gradients of every view by hooks, averaged over an example's views, clipped and added up."""
    from opacus import GradSampleModule

    wrapped = GradSampleModule(model, loss_reduction="sum", strict=False)

    def update(images: Tensor, labels: Tensor) -> None:
        views = images.shape[1]
        wrapped.zero_grad(set_to_none=True)
        logits = wrapped(images.flatten(0, 1))
        nn.functional.cross_entropy(logits, labels.repeat_interleave(views), reduction="sum").backward()
        gradients = [p.grad_sample.unflatten(0, (-1, views)).mean(1) for p in wrapped.parameters()]
        norm = torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
        factor = (1 / norm).clamp_max(1)
        for g in gradients:
            torch.einsum("b,b...->...", factor, g)
        for p in wrapped.parameters():
            p.grad_sample = None

    return update


def costs(sizes: Sizes, device: str) -> Iterator[Row]:
    for views, examples in sizes.costs.items():
        images, labels = batch(examples, views, device)
        for autocast, kind in ((None, "float32"), (torch.bfloat16, "bfloat16")):
            model = network(sizes, device)
            clipping = Clipping(model, 1.0, autocast=autocast)
            sides: dict[str, Callable[[], object]] = {
                "plain": lambda: plain_update(model, images, labels, autocast),  # noqa: B023
                "private": lambda: clipping(images, labels),  # noqa: B023
            }
            for side, compute in sides.items():
                row = {"K": views, "B": examples, "type": kind, "side": side}
                yield row | attempt(lambda: measured(compute, sizes.rounds, device))  # noqa: B023
        row = {"K": views, "B": examples, "type": "float32", "side": "Opacus"}

        def opacus() -> Row:
            update = opacus_update(network(sizes, device))
            return measured(lambda: update(images, labels), sizes.rounds, device)  # noqa: B023

        yield row | attempt(opacus)


# ---- c ---------------------------------------------------------------------------------------------------------------


def whole(sizes: Sizes, device: str) -> Iterator[Row]:
    model = network(sizes, device)
    clipping = Clipping(model, 1.0, autocast=torch.bfloat16)
    images, labels = batch(sizes.physical, sizes.views, device)
    stream = RandomStream.keyed(b"a quarter of an hour")

    def update() -> None:
        total = clipping.zero()
        for _ in range(-(-sizes.logical // sizes.physical)):
            total = total.add_(clipping(images, labels))
        noisy = add_gaussian_noise(total.sums, standard_deviation=2.5, stream=stream)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.sub_(noisy[name], alpha=4.0 / sizes.logical)

    row = measured(update, max(1, sizes.rounds // 2), device)
    yield {
        "what": f"updates of {sizes.logical} examples with {sizes.views} views",
        **row,
        "updates/s": 1 / row["seconds"],
        "minutes for 2,500": 2500 * row["seconds"] / 60,
    }
    activities = [torch.profiler.ProfilerActivity.CPU]
    cuda = torch.device(device).type == "cuda"
    activities += [torch.profiler.ProfilerActivity.CUDA] if cuda else []
    with torch.profiler.profile(activities=activities, acc_events=True) as profile:
        clipping(images, labels)
    time_of = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(profile.key_averages(), key=lambda event: -getattr(event, time_of))
    for event in events[:25]:
        yield {"what": event.key, "seconds": getattr(event, time_of) / 1e6, "calls": event.count}


# ---- d ---------------------------------------------------------------------------------------------------------------


def accuracy(sizes: Sizes, options: argparse.Namespace, end: float) -> Iterator[Row]:
    """A training for the minutes that are left, by the command that everybody uses."""
    run = options.out / "run"
    if options.resume is not None and not run.exists():
        shutil.copytree(options.resume, run)
    minutes = (end - time.monotonic()) / 60
    if minutes < _LEAST_MINUTES:
        yield {"not measured": f"{minutes:.1f} minutes are left: not worth a start"}
        return
    command = [sys.executable, "-m", "trilemma", "train", *sizes.training, "--device", options.device,
               "--minutes", f"{minutes:.3f}", "--out", str(run)]  # fmt: skip
    command += ["--data-dir", str(options.data_dir)] if options.data_dir is not None else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * minutes + 300, check=False)
    large = [f.name for f in run.glob("checkpoint*") if f.stat().st_size > _LARGEST]
    history = run / "history.jsonl"
    last = (
        json.loads(history.read_text("utf-8").splitlines()[-1]) if history.is_file() and history.stat().st_size else {}
    )
    result = run / "result.json"
    row: Row = {"status": done.returncode, "finished": result.is_file(), "files over 16 MB": len(large)}
    row |= {key: last.get(key) for key in ("update", "epsilon", "accuracy")}
    if done.returncode not in (0, 130):  # 130: stopped by --minutes, to be resumed
        row["not measured"] = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no message"
    yield row


# ---- all of it -------------------------------------------------------------------------------------------------------


def attempt(measure: Callable[[], Row]) -> Row:
    """What was measured, or why it was not."""
    try:
        return measure()
    except Exception as error:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return {"not measured": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--resume", type=Path, help="a run that an earlier quarter of an hour has left")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="for a test on a CPU")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    sizes = _TINY if options.tiny else Sizes()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU here: nothing was measured (--device cpu --tiny tries the command)", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    notebook = Notebook(options.out)
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    notebook.add("machine", {"device": name, "torch": torch.__version__, "model": sizes.model})
    parts: dict[str, Callable[[], Iterator[Row]]] = {
        "a. exact": lambda: exact(sizes, options.device),
        "b. costs": lambda: costs(sizes, options.device),
        "c. whole": lambda: whole(sizes, options.device),
        "d. accuracy": lambda: accuracy(sizes, options, end),
    }
    for part, rows in parts.items():
        try:
            for row in rows():
                notebook.add(part, row)
        except Exception as error:  # the parts after it are still worth the time
            notebook.add(part, {"not measured": f"{type(error).__name__}: {error}"[:300]})
    failed = [row for rows in notebook.parts.values() for row in rows if row.get("passed") is False]
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
