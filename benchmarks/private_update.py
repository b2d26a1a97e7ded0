"""What privacy costs an update: ours and others' private updates against an ordinary one, on the same images.

    python benchmarks/private_update.py [--model wrn-16-4] [--shapes 1x32,4x16,16x8] [--rounds 9] [--sides trilemma,...]
    python benchmarks/private_update.py --device cuda --bfloat16 --shapes 1x1024,4x512,16x256 --sides trilemma,...
    pip install opake jax-privacy     # for --sides trilemma,opake,jax-plain,jax-privacy (wide ResNets only)

Every side is a process of its own, with the same threads and allocator (which keeps freed memory, as in a training of
ours; in a side with ``-default`` after its name it is left alone); in each round each side makes one update in
turn, and ratios are of the same round.  A shape is K x B: K views of each of B examples in one physical batch; the
plain update learns from the same B * K images.  An update is everything between two states of the weights: gradient,
clipping, noise, descent.  ``gradient`` leaves out noise and descent, which a logical batch of many physical ones has
once.  Before timing, all sides must give the same clipped sum, and, clipped to nothing, the plain gradient.

Opacus has no views: B * K gradients are stored, then averaged (hooks, functorch), or there is no such column (ghost).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIDES = ("plain", "trilemma", "opacus-hooks", "opacus-functorch", "opacus-ghost")
NOISE, RATE = 1.0, 0.1
LOOSE = dict.fromkeys(("opake", "jax-plain", "jax-privacy"), 1e-2)
"""For other kernels, whose rounding falls on other sides of the ReLU's kinks (on a wrn-10-1 they agree to 1e-4)."""


# ---- one side --------------------------------------------------------------------------------------------------------


def network(model: str, *, standardized: bool = True) -> Any:
    """At its initial weights, with group norm, for ten classes of 32 x 32 pixels."""
    import torch

    from trilemma.models import build

    return build(
        model,
        classes=10,
        image_shape=(3, 32, 32),
        norm="group",
        groups=16,
        norm_first=False,
        standardized=standardized,
        generator=torch.Generator().manual_seed(0),
    )


class Side(ABC):
    """A network and a batch, with ``gradient(clip)`` -> sums by name and ``update()``."""

    private = True

    def __init__(self, model: str, views: int, examples: int, bfloat16: bool, device: str) -> None:
        import torch

        from trilemma.privacy import RandomStream

        self.device = device
        self.autocast = torch.bfloat16 if bfloat16 else None
        self.model = network(model).to(device)
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(examples, views, 3, 32, 32, generator=generator).to(device)
        self.labels = torch.randint(0, 10, (examples,), generator=generator).to(device)
        self.noise = RandomStream.keyed(b"benchmark")

    @abstractmethod
    def gradient(self, clip: float) -> dict[str, Any]: ...

    def update(self) -> None:
        import torch

        from trilemma.privacy.noise import add_gaussian_noise

        sums = self.gradient(1.0)
        if self.private:
            sums = add_gaussian_noise(sums, standard_deviation=NOISE, stream=self.noise)
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.sub_(sums[name], alpha=RATE / len(self.labels))


class Plain(Side):
    private = False

    def gradient(self, clip: float) -> dict[str, Any]:
        import torch
        from torch.nn.functional import cross_entropy

        images, views = self.images.flatten(0, 1), self.images.shape[1]
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast is not None):
            logits = self.model(images)
        loss = cross_entropy(logits.float(), self.labels.repeat_interleave(views)) * len(self.labels)
        names, parameters = zip(*self.model.named_parameters(), strict=True)
        return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


class Trilemma(Side):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.clippings: dict[float, Any] = {}

    def gradient(self, clip: float) -> dict[str, Any]:
        from trilemma.privacy import Clipping

        if clip not in self.clippings:  # one for a whole training: it tries the network out at its first batch
            self.clippings[clip] = Clipping(self.model, clip, autocast=self.autocast)
        return self.clippings[clip](self.images, self.labels).sums


class Opacus(Side):
    """Hooks or functorch: gradients of all views are stored; averaged over an example's views; clipped; summed."""

    mode = "hooks"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from opacus import GradSampleModule

        self.wrapped = GradSampleModule(
            self.model, loss_reduction="sum", force_functorch=self.mode == "functorch", strict=False
        )

    def gradient(self, clip: float) -> dict[str, Any]:
        import torch
        from torch.nn.functional import cross_entropy

        views = self.images.shape[1]
        self.wrapped.zero_grad(set_to_none=True)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast is not None):
            logits = self.wrapped(self.images.flatten(0, 1))
        labels = self.labels.repeat_interleave(views)
        cross_entropy(logits.float(), labels, reduction="sum").backward()
        samples = {}
        for name, p in self.model.named_parameters():
            g = p.grad_sample
            samples[name] = g if views == 1 else g.reshape(-1, views, *p.shape).mean(1)
            p.grad_sample = None
        # As its DPOptimizer does: norms by parameter, a factor an example, one product a parameter, in float32.
        norms = torch.stack([g.flatten(1).norm(2, dim=1) for g in samples.values()], dim=1).norm(2, dim=1)
        factors = (clip / (norms + 1e-6)).clamp(max=1.0).float()
        return {name: torch.einsum("i,i...", factors, g.float()) for name, g in samples.items()}


class OpacusFunctorch(Opacus):
    mode = "functorch"


class OpacusGhost(Side):
    """Fast gradient clipping: ghost norms where there is a rule, two backward passes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping

        self.wrapped = GradSampleModuleFastGradientClipping(
            self.model, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True, strict=False
        )

    def gradient(self, clip: float) -> dict[str, Any]:
        from torch.nn.functional import cross_entropy

        self.wrapped.max_grad_norm = clip
        self.wrapped.zero_grad(set_to_none=True)
        losses = cross_entropy(self.wrapped(self.images[:, 0]), self.labels, reduction="none")
        losses.sum().backward(retain_graph=True)
        factors = self.wrapped.get_clipping_coef()
        self.wrapped.zero_grad(set_to_none=True)
        self.wrapped.disable_hooks()
        (losses * factors).sum().backward()
        self.wrapped.enable_hooks()
        return {name: p.grad for name, p in self.model.named_parameters()}


class Opake(Side):
    """vmap of the gradient, as its clipped_grad does it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from torch.func import functional_call
        from torch.nn.functional import cross_entropy

        self.parameters = {name: p.detach() for name, p in self.model.named_parameters()}

        def loss(parameters: Any, images: Any, label: Any) -> Any:
            return cross_entropy(functional_call(self.model, parameters, (images,)), label.expand(len(images)))

        self.loss = loss
        self.functions: dict[float, Any] = {}

    def gradient(self, clip: float) -> dict[str, Any]:
        from opake.dpsgd.clipping import clipped_grad

        if clip not in self.functions:
            self.functions[clip] = clipped_grad(self.loss, clipping_norm=clip, batch_argnums=(1, 2))
        function, state = self.functions[clip]
        sums, _ = function(self.parameters, self.images, self.labels, state=state)
        return dict(getattr(sums, "pytree", sums))


class Jax(Side):
    """The same network in JAX, compiled, in its usual layout; ``clip`` is None for its plain gradient."""

    private = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        import jax

        from jax_networks import wide_resnet

        self.jax = jax
        self.values = {n: jax.numpy.asarray(p.detach().numpy()) for n, p in self.model.named_parameters()}
        self.views = jax.numpy.asarray(self.images.permute(0, 1, 3, 4, 2).numpy())
        self.classes = jax.numpy.asarray(self.labels.numpy())
        apply = wide_resnet(self.model)

        def loss(values: Any, images: Any, labels: Any) -> Any:  # (n, K, H, W, C), (n,) -> mean over K, sum over n
            logits = apply(values, images.reshape(-1, *images.shape[2:]))
            each = -jax.nn.log_softmax(logits)[jax.numpy.arange(len(logits)), labels.repeat(images.shape[1])]
            return each.reshape(len(labels), -1).mean(1).sum()

        self.loss = loss
        self.functions: dict[float, Any] = {}

    def _gradient(self, clip: float) -> Any:
        if clip not in self.functions:
            function = self.jax.grad(self.loss)
            if self.private:
                from jax_privacy.clipping import clipped_grad

                function = clipped_grad(self.loss, l2_clip_norm=clip, batch_argnums=(1, 2))
            self.functions[clip] = self.jax.jit(function)
        return self.jax.block_until_ready(self.functions[clip](self.values, self.views, self.classes))

    def gradient(self, clip: float) -> dict[str, Any]:
        import numpy as np
        import torch

        return {name: torch.from_numpy(np.array(g)) for name, g in self._gradient(clip).items()}

    def update(self) -> None:
        key = self.jax.random.key(3)
        sums = self._gradient(1.0)
        for number, (name, g) in enumerate(sums.items()):
            if self.private:
                g = g + NOISE * self.jax.random.normal(self.jax.random.fold_in(key, number), g.shape)
            self.values[name] = self.values[name] - RATE / len(self.labels) * g
        self.jax.block_until_ready(self.values)


class JaxPrivacy(Jax):
    private = True


CLASSES: dict[str, Callable[..., Side]] = {
    "plain": Plain,
    "trilemma": Trilemma,
    "opacus-hooks": Opacus,
    "opacus-functorch": OpacusFunctorch,
    "opacus-ghost": OpacusGhost,
    "opake": Opake,
    "jax-plain": Jax,
    "jax-privacy": JaxPrivacy,
}


def resident(what: str) -> float:
    """MiB of this process: VmRSS (now) or VmHWM (at most)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return float("nan")


def serve(arguments: argparse.Namespace) -> None:
    """Answers requests on stdin, a line of JSON each."""
    import numpy as np
    import torch

    warnings.simplefilter("ignore")
    name = arguments.serve.removesuffix("-default")
    if name == arguments.serve:
        from trilemma.machine import keep_freed_memory

        keep_freed_memory()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not reach the answers
    views, examples = arguments.shape
    device = "cpu" if name.startswith("jax") else arguments.device  # JAX takes its own
    side = CLASSES[name](arguments.model, views, examples, arguments.bfloat16, device)
    cuda = device == "cuda"
    before = torch.cuda.memory_allocated() / 2**20 if cuda else resident("VmRSS")
    wait: Callable[[], object] = torch.cuda.synchronize if cuda else lambda: None

    def timed(function: Callable[[], object]) -> float:
        wait()
        start = time.perf_counter()
        function()
        wait()
        return time.perf_counter() - start

    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if request["do"] == "check":
            sums = side.gradient(request["clip"])
            np.savez(request["path"], **{n: g.detach().float().cpu().numpy() for n, g in sums.items()})
        elif request["do"] == "gradient":
            answer = timed(lambda: side.gradient(1.0))
        elif request["do"] == "update":
            answer = timed(side.update)
        elif request["do"] == "memory":
            answer = (torch.cuda.max_memory_allocated() / 2**20 if cuda else resident("VmHWM")) - before
        elif request["do"] == "versions":
            answer = {"torch": torch.__version__, "threads": torch.get_num_threads()}
            if cuda:
                answer["GPU"] = torch.cuda.get_device_name()
        out.write(json.dumps(answer) + "\n")
        out.flush()


# ---- the comparison --------------------------------------------------------------------------------------------------


class Process:
    def __init__(self, side: str, arguments: argparse.Namespace, shape: tuple[int, int]) -> None:
        command = [sys.executable, __file__, "--serve", side, "--model", arguments.model]
        command += ["--shape", f"{shape[0]}x{shape[1]}"] + ["--bfloat16"] * arguments.bfloat16
        command += ["--device", arguments.device]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, do: str, **more: object) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended ({self.process.args}): see its message above")
        return json.loads(line)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def check(processes: dict[str, Process], folder: Path, tolerance: float) -> None:
    """All private sides give one clipped sum; clipped to nothing it is the plain gradient."""
    import numpy as np

    for clip in (1e6, 0.5):
        sums = {}
        for name, process in processes.items():
            path = folder / f"{name}.npz"
            process.ask("check", clip=clip, path=str(path))
            sums[name] = np.load(path)
        if clip < 1:
            sums = {name: values for name, values in sums.items() if "plain" not in name}
        names = list(sums)
        reference = sums[names[0]]
        length = sum(float((reference[n].astype(float) ** 2).sum()) for n in reference) ** 0.5
        for name in names[1:]:
            other = sums[name]
            distance = sum(float(((reference[n] - other[n]).astype(float) ** 2).sum()) for n in reference) ** 0.5
            if not distance <= max(tolerance, LOOSE.get(name, 0.0)) * length:
                raise SystemExit(f"{name} and {names[0]} differ by {distance / length:.1e} at clip {clip}: no timing")


def compare(arguments: argparse.Namespace, shape: tuple[int, int], folder: Path) -> None:
    sides = [s for s in arguments.sides if not (s == "opacus-ghost" and (shape[0] > 1 or arguments.bfloat16))]
    processes = {side: Process(side, arguments, shape) for side in sides}
    check(processes, folder, 3e-2 if arguments.bfloat16 else 1e-4)
    times: dict[str, dict[str, list[float]]] = {do: {side: [] for side in sides} for do in ("gradient", "update")}
    for round_ in range(arguments.rounds + 1):
        for do in times:
            for side, process in processes.items():
                seconds = process.ask(do)
                if round_:  # the first one warms up
                    times[do][side].append(seconds)
    memory = {side: process.ask("memory") for side, process in processes.items()}
    if shape == arguments.shapes[0]:
        versions = processes["plain"].ask("versions")
        print(f"{arguments.model}, group norm, weight standardization, 32x32, {os.cpu_count()} cores, {versions}")
        print(f"{platform.machine()}, Python {platform.python_version()}, {arguments.rounds} rounds;", end=" ")
        print("medians with quartiles; ratios round by round")
    print(f"\nK={shape[0]}, B={shape[1]}" + (", bfloat16" if arguments.bfloat16 else ""))
    print("| side | gradient, s | / plain | update, s | / plain | peak memory, MB | / plain |")
    print("|---|---|---|---|---|---|---|")
    for side in sides:
        cells = []
        for do in times:
            ours, plain = times[do][side], times[do]["plain"]
            cells += [f"{statistics.median(ours):.3f}", spread([a / b for a, b in zip(ours, plain, strict=True)])]
        print(f"| {side} | {' | '.join(cells)} | {memory[side]:.0f} | {memory[side] / memory['plain']:.2f} |")
    if "jax-privacy" in sides:
        for do in times:
            pairs = zip(times[do]["jax-privacy"], times[do]["jax-plain"], strict=True)
            print(f"{do}: jax-privacy / jax-plain: {spread([a / b for a, b in pairs])}")
    for do in times:
        rivals = [side for side in sides if side.startswith("opacus")]
        if rivals and "trilemma" in sides:
            fastest = min(rivals, key=lambda side: statistics.median(times[do][side]))
            pairs = zip(times[do][fastest], times[do]["trilemma"], strict=True)
            print(f"{do}: fastest mode of Opacus ({fastest}) / trilemma: {spread([a / b for a, b in pairs])}")
    sys.stdout.flush()
    for process in processes.values():
        process.close()


def main() -> None:
    def shape(text: str) -> tuple[int, int]:
        views, examples = text.split("x")
        return int(views), int(examples)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wrn-16-4")
    parser.add_argument(
        "--shapes", type=lambda text: [shape(part) for part in text.split(",")], default="1x32,4x16,16x8"
    )
    parser.add_argument("--sides", type=lambda text: ["plain", *text.split(",")], default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of all sides but JAX's, which choose")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=shape, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments)
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for next_shape in arguments.shapes:
            compare(arguments, next_shape, Path(folder))


if __name__ == "__main__":
    main()
