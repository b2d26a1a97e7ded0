"""What a physical batch asks of a GPU: operations, waits, arithmetic, memory moved; counted without one.

    python benchmarks/gpu_operations.py [--model wrn-16-4] [--views 4096] [--tflops 400] [--tbytes 2.5] [--launch 10]

The update runs on tensors that have shapes and types but no numbers, with the choices made for a GPU, in bfloat16.
For each operation that computes something: FLOP by torch's own formulas, and the bytes of what it reads and writes.
An operation takes at least the longer of its arithmetic and its memory traffic at the rates given (about what an H100
reaches); their sum is a floor for the GPU, and operations x ``--launch`` microseconds is what the host needs to ask for
them.  Where the second is far below the first, capturing a CUDA graph has nothing to win.

This is arithmetic, not a measurement.  Cast like a CPU's autocast does it; a GPU's also keeps norms in float32.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from private_update import network
from trilemma.privacy import Clipping
from trilemma.privacy.gradients import contributions, layerwise, linear, rules, sums


class Count(TorchDispatchMode):
    """``operations`` that are computed, ``waits`` of the host for a number, ``flop`` and ``bytes`` of all together, and
    the least ``seconds`` of each, by name."""

    def __init__(self, flops: float, rate: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self.rate = flops, rate
        self.operations = self.waits = self.flop = self.bytes = 0
        self.seconds = Counter[str]()
        self.asked: Any = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.waits += 1
            return self.asked is not torch.ops.aten.any  # is all finite?  yes.  Is any inexact?  no.
        result = func(*args, **(kwargs or {}))
        self.asked = func._overloadpacket
        views = [r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns]
        if func.namespace != "aten" or all(views) or "empty" in str(func) or "_unsafe_view" in str(func):
            return result
        made = func._schema.name.startswith(("aten::new_", "aten::zeros", "aten::ones"))  # reads nothing
        tensors = {id(x): x for x in tree_leaves(result if made else (args, kwargs, result)) if isinstance(x, Tensor)}
        # A view that has pixels more than once is read once.
        moved = sum(min(x.numel() * x.element_size(), x.untyped_storage().nbytes()) for x in tensors.values())
        formula = flop_registry.get(func._overloadpacket)
        flop = formula(*args, **(kwargs or {}), out_val=result) if formula else 0
        self.operations += 1
        self.flop += flop
        self.bytes += moved
        self.seconds[str(func).removeprefix("aten.")] += max(flop / self.flops, moved / self.rate)  # type: ignore
        return result


def on_no_device(model: nn.Module) -> nn.Module:
    """The network with parameters that have no numbers."""
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(torch.empty(p.shape))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wrn-16-4")
    parser.add_argument("--views", type=int, default=4096, help="in a physical batch")
    parser.add_argument("--tflops", type=float, default=400)
    parser.add_argument("--tbytes", type=float, default=2.5)
    parser.add_argument("--launch", type=float, default=10, help="microseconds of the host for an operation")
    arguments = parser.parse_args()
    for module in (rules, contributions, layerwise, linear, sums):
        module.on_cpu = lambda tensor: False  # type: ignore[attr-defined]
    real = network(arguments.model)
    print(f"{arguments.model}, {arguments.views} views of 32x32, bfloat16, torch {torch.__version__}")
    print("| | operations | waits | TFLOP | GB moved | floor, ms | of that | host, ms |")
    print("|---|---|---|---|---|---|---|---|")
    with FakeTensorMode():
        model = on_no_device(real)
        for views in (1, 4, 16):
            examples = arguments.views // views
            images = torch.empty(examples, views, 3, 32, 32)
            labels = torch.empty(examples, dtype=torch.int64)
            private = Clipping(model, 1.0, "layerwise", autocast=torch.bfloat16)
            plain_loss = private.objective.view_losses

            def plain(model: nn.Module = model, images: Tensor = images, labels: Tensor = labels) -> None:
                losses = plain_loss(model, images, labels)  # noqa: B023
                torch.autograd.grad(losses.mean(), list(model.parameters()))

            sides = {"plain": plain} if views == 1 else {}
            for name, compute in (sides | {f"K={views}": lambda: private(images, labels)}).items():  # noqa: B023
                with Count(arguments.tflops * 1e12, arguments.tbytes * 1e12) as count:
                    compute()
                floor, host = 1e3 * sum(count.seconds.values()), count.operations * arguments.launch / 1e3
                most = ", ".join(f"{op.split('.')[0]} {s * 1e3:.0f}" for op, s in count.seconds.most_common(6))
                print(f"| {name} | {count.operations} | {count.waits} | {count.flop / 1e12:.1f}", end=" ")
                print(f"| {count.bytes / 1e9:.0f} | {floor:.0f} | {most} | {host:.1f} |")


if __name__ == "__main__":
    main()
