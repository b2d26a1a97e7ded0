"""Hooks that turn each layer's inputs and output gradients, in one backward pass, into contributions to the examples'
gradients."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from torch import Tensor, nn, no_grad

from trilemma.privacy.gradients import kernels
from trilemma.privacy.gradients.contributions import Call, Contribution, Materialized, contribution, ghost_pays
from trilemma.privacy.gradients.rules import Moments


class LayerHooks:
    """A copy of a network that records what each layer adds to the examples' gradients while a backward pass runs.

    The copy shares the parameters' values, but they take no part in autograd: only the gradients of layers' outputs are
    asked for, so that no weight gradient of the whole batch is computed and thrown away.  The network's parameters are
    not touched.  Lists, dicts and objects that its modules hold are shared by all copies, so several copies may run at
    once only of a network that :func:`~trilemma.privacy.structure.keeps_nothing`.
    """

    def __init__(
        self, model: nn.Module, trainable: Mapping[str, nn.Parameter], examples: int, *, on_gpu: bool = False
    ) -> None:
        names = {id(p): name for name, p in trainable.items()}
        self.examples = examples
        self._uses: dict[str, int] = dict.fromkeys(trainable, 0)
        self._recorded: list[tuple[dict[str, str], Contribution]] = []
        self.starts: list[Tensor] = []
        """Zeros, one added to the output of each layer before which nothing is trained: the backward pass ends there,
        and the gradient of the images, which nobody needs, is never computed."""
        copies: dict[int, nn.Module] = {}
        self.network = _shallow_copy(model, copies)
        for module in model.modules():
            owned = {a: names[id(p)] for a, p in module._parameters.items() if p is not None and id(p) in names}
            copy = copies[id(module)]
            if owned and on_gpu and type(copy) is nn.GroupNorm and kernels.normalizes(copy):
                copy.__dict__["forward"] = functools.partial(self._group_norm, owned, copy)
            elif owned:
                copy.register_forward_hook(functools.partial(self._after_forward, owned))

    def _group_norm(self, owned: dict[str, str], layer: nn.GroupNorm, images: Tensor) -> Tensor:
        """The layer by a GPU's kernel, which has the gradients of its parameters at hand in the backward pass."""
        if images.dim() != 4:
            return self._after_forward(owned, layer, (images,), nn.GroupNorm.forward(layer, images))
        for name in owned.values():
            self._uses[name] += 1

        def record(weight: Tensor, bias: Tensor) -> None:
            by_view = {"weight": weight, "bias": bias}
            gradients = {name: by_view[name].unflatten(0, (self.examples, -1)).sum(1) for name in owned}
            self._recorded.append((owned, Materialized(gradients)))

        if not images.requires_grad:
            self.starts.append(images.new_zeros((), requires_grad=True))
            images = images + self.starts[-1]
        normalized: Tensor = kernels.GroupNorm.apply(images, layer, record)  # type: ignore[no-untyped-call]
        return normalized

    def _after_forward(
        self, owned: dict[str, str], layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        for name in owned.values():
            self._uses[name] += 1
        if not output.requires_grad:
            self.starts.append(output.new_zeros((), requires_grad=True))
            output = output.add_(self.starts[-1])  # no one else has it yet
        # It is in a list so that it can be released: the hooks themselves live as long as the losses.
        waiting, version = [inputs[0].detach()], inputs[0]._version
        stored_output = output.detach() if ghost_pays(layer, inputs[0], output, self.examples) else None
        stored_version = output._version
        moments = _moments(output) if type(layer) is nn.GroupNorm else None

        # A tensor hook set here sees the gradient of this output even if it is later changed in place.
        def after_backward(gradient: Tensor) -> None:
            seen = waiting.pop()
            if seen._version != version:
                raise RuntimeError(f"the input of {type(layer).__name__} was changed in place after its use")
            # The forward pass is over: every use of a parameter has been counted.
            alone = all(self._uses[name] == 1 for name in owned.values())
            unchanged = stored_output is not None and stored_output._version == stored_version
            with no_grad():
                seen, out = seen.to(gradient.dtype), stored_output if unchanged else None
                call = Call(layer, seen, out, gradient, self.examples, moments)
                self._recorded.append((owned, contribution(call, owned, alone=alone)))

        output.register_hook(after_backward)
        return output

    def contributions(self) -> list[tuple[dict[str, str], Contribution]]:
        """Each layer's contribution, with the names of its parameters by their names in the layer.

        The gradients of a parameter that is used more than once are added up first: the norm of a sum is not the sum of
        the norms.
        """
        alone, shared = [], dict[str, Tensor]()
        # Handed over, not kept: the copy's hooks and this object hold each other until the garbage is collected.
        recorded, self._recorded = self._recorded, []
        for owned, layer in recorded:
            if all(self._uses[name] == 1 for name in owned.values()):
                alone.append((owned, layer))
                continue
            assert isinstance(layer, Materialized)
            for attribute, name in owned.items():
                value = layer.gradients[attribute]
                shared[name] = shared[name] + value if name in shared else value
        if shared:
            alone.append(({name: name for name in shared}, Materialized(shared)))
        return alone


def _moments(output: Tensor) -> Moments | None:
    """Mean and reciprocal std that torch keeps of a group norm for its own backward pass.

    Computing them again would take as long as the norm itself.
    """
    node = output.grad_fn
    if node is None or node.name() != "NativeGroupNormBackward0":
        return None
    # Detached: they refer to the node, whose hook will hold them, and such a circle is never collected.
    return node._saved_result1.detach(), node._saved_result2.detach()  # type: ignore[attr-defined]


def _shallow_copy(module: nn.Module, copies: dict[int, nn.Module]) -> nn.Module:
    """The same modules with the same values, and parameters detached from autograd."""
    if id(module) not in copies:
        copy = copies[id(module)] = type(module).__new__(type(module))
        copy.__dict__ = {
            **module.__dict__,
            "_parameters": {name: None if p is None else p.detach() for name, p in module._parameters.items()},
            "_buffers": dict(module._buffers),
            "_forward_hooks": module._forward_hooks.copy(),
        }
        copy.__dict__["_modules"] = {
            name: None if child is None else _shallow_copy(child, copies) for name, child in module._modules.items()
        }
    return copies[id(module)]
