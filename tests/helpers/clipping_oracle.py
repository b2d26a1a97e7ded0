"""Slow, separate implementations, written from the definitions and not from the code they judge.

As in De et al. 2022: the loss of an example is the mean over its K views of the softmax cross-entropy; the
per-example gradient is the gradient of that mean, taken over all trainable parameters together; it is
clipped to the clipping norm, and the clipped gradients are added up.  Here that is done one example at a
time, by plain autograd on a float64 copy of the model, with no rule for any layer.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


class AllDouble(TorchFunctionMode):
    """A network that asks for float32 by ``.float()`` is given float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.float:
            return args[0].double()
        return func(*args, **(kwargs or {}))


class Signs(TorchFunctionMode):
    """Records on which side of its kink every input of a ReLU lies."""

    def __init__(self):
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (F.relu, F.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_):
            self.seen.append(args[0].detach() > 0)
        if func is torch.Tensor.float and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def off_the_kinks(model, make):
    """The first of ``make(0), make(1), ...`` where rounding moves no ReLU's input across zero.

    There the gradient jumps, so that float32 and float64 could differ by any amount, both being right.
    """
    double = double_copy(model)
    for seed in range(100):
        images, labels = make(seed)

        def signs(network, batches):
            with Signs() as mode:
                for batch in batches:
                    network(batch)
            return mode.seen

        exact = signs(double, [images.flatten(0, 1).double()])
        together = signs(model, [images.flatten(0, 1)])
        alone = signs(model, images)
        per_layer = len(together)
        singly = [torch.cat(alone[layer::per_layer]) for layer in range(per_layer)]
        pairs = zip(exact, together, singly, strict=True)
        if all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in pairs):
            return images, labels
    raise AssertionError("no batch off the kinks")


def double_copy(model):
    """A float64 copy."""
    for module in model.modules():  # left over by a hook that computes a weight; deepcopy cannot take it
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                setattr(module, name, value.detach())
    return copy.deepcopy(model).double()


def example_gradients(model, images, labels):
    """For each example: {parameter name: float64 gradient of the mean cross-entropy of its views}."""
    double = double_copy(model)
    parameters = {name: p for name, p in double.named_parameters() if p.requires_grad}
    gradients = []
    for views, label in zip(images, labels, strict=True):
        with AllDouble():
            logits = double(views.double())
        losses = [-torch.log_softmax(row, dim=0)[int(label)] for row in logits]
        loss = sum(losses) / len(losses)
        derivatives = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        gradients.append(
            {
                name: torch.zeros_like(p) if g is None else g
                for (name, p), g in zip(parameters.items(), derivatives, strict=True)
            }
        )
    return gradients


def gradient_norm(gradient):
    """The L2 norm over all parameters of one example's gradient."""
    return math.sqrt(sum(float((g * g).sum()) for g in gradient.values()))


def clipped_gradient_sum(model, images, labels, clipping_norm):
    """(sums by parameter name, norms before clipping), both float64.

    An example whose gradient is not finite has no place in a finite sum: it counts as nothing.
    """
    return clip_and_add(model, example_gradients(model, images, labels), clipping_norm)


def clip_and_add(model, gradients, clipping_norm):
    """The second half of :func:`clipped_gradient_sum`, for gradients that are at hand."""
    sums = {n: torch.zeros_like(p, dtype=torch.float64) for n, p in model.named_parameters() if p.requires_grad}
    norms = []
    for gradient in gradients:
        norm = gradient_norm(gradient)
        norms.append(norm)
        if not math.isfinite(norm):
            continue
        factor = 1.0 if norm <= clipping_norm else clipping_norm / norm
        for name in sums:
            sums[name] += factor * gradient[name]
    return sums, torch.tensor(norms, dtype=torch.float64)


def flat(sums):
    """All parameters of a sum as one float64 vector, in the order of the names."""
    return torch.cat([sums[name].detach().double().reshape(-1) for name in sorted(sums)])


def distance(sums, others):
    """The L2 distance between two sums."""
    if sums.keys() != others.keys():
        raise AssertionError(f"different parameters: {sorted(sums.keys() ^ others.keys())}")
    return float((flat(sums) - flat(others)).norm())


def relative_error(sums, reference):
    """Distance from the reference relative to the reference's own norm."""
    return distance(sums, reference) / float(flat(reference).norm())
