"""The gradients of an update: the clipped sum over a Poisson draw, or the mean over a shuffled batch."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trilemma.privacy.clipping import Clipping
from trilemma.privacy.gradients.sums import ClippedSum, CrossEntropy, Loss
from trilemma.privacy.plan import Plan
from trilemma.privacy.sampling import Draw
from trilemma.privacy.unchanged import refuse_changed_state
from trilemma.privacy.validation import refuse_random_layers
from trilemma.seeds import generator_for
from trilemma.threads import one_each
from trilemma.training import batch_size as obs
from trilemma.training.canaries import Placed
from trilemma.training.execution import Execution
from trilemma.training.inputs import Inputs, PriorInputs
from trilemma.training.memory import physical_batch
from trilemma.training.ranks import Ranks
from trilemma.training.recipe import Recipe
from trilemma.training.sharpness import perturbed
from trilemma.training.state import State

Gradient = dict[str, Tensor]

LEAST = 64
"""The smallest physical batch of an ordinary gradient: batch norm needs several examples."""

_WARM_UP, _PAIRS = 30, 10  # updates before the gradient noise scale is measured, and measurements


@dataclass(eq=False)
class Examples:
    """The training examples as a network sees them.

    Attributes:
      inputs: the inputs of the network.
      labels: int64 (N,), on the device.
    """

    inputs: Inputs
    labels: Tensor

    def views_and_labels(self, rows: Tensor, update: int) -> tuple[Tensor, Tensor]:
        """Some examples' views (n, K, *shape) in an update and their labels (n,), on the device; without AM, K = 1 and
        the view is the example itself."""
        return self.inputs.views(rows, update), self.labels[rows.to(self.labels.device)]


def losses_of(recipe: Recipe) -> Loss:
    """The loss of each row of logits, in float32."""
    return CrossEntropy(recipe.label_smoothing)


@dataclass(eq=False)
class PrivateGradient:
    """Computes clipped sums over draws, one physical batch at a time.

    Attributes:
      recipe: for the radius of DP-SAT.
      examples: the training examples.
      plan: draws and adds the noise.
      clipping: clips each example's gradient to the plan's clipping norm.
      canaries: extra examples that audit the training, or None.
    """

    recipe: Recipe
    examples: Examples
    plan: Plan
    clipping: Clipping
    canaries: Placed | None = None

    def draw(self, state: State) -> Draw:
        """The next logical batch.  Canaries are drawn after the examples, from a stream of their own."""
        draw = self.plan.draw(state.sampling)
        return self.canaries.draw(draw, state.coins) if self.canaries and state.coins else draw

    def clipped_sum(self, draw: Draw, state: State, ranks: Ranks, physical_batch: int) -> ClippedSum:
        """The sum of the clipped gradients of the examples in ``draw``, the same in every process.  Gradients are taken
        at the weights or, with SAT, a step uphill from them along the previous privatized gradient."""
        placed, coins = self.canaries, state.coins
        rows = placed.rows(draw, coins) if placed and coins else draw.indices
        mine = ranks.share(len(rows))
        total = self.clipping.zero()
        uphill = perturbed(state.model, state.previous or None, self.recipe.sharpness_radius)
        spot = state.evidence.spot_place(len(mine)) if ranks.first and state.evidence is not None else None
        with (
            one_each() if self.clipping.objective.side_by_side else nullcontext(),
            refuse_random_layers(self.examples.labels.device),
            uphill,
            refuse_changed_state(state.model),  # inside, since what is put back uphill would not show
        ):
            for places in mine.split(physical_batch) if len(mine) else ():
                images, labels = self.examples.views_and_labels(rows[places], state.update)
                part = self.clipping(images, labels)
                if state.evidence is not None and spot is not None and 0 <= spot - total.count < len(places):
                    state.evidence.spot(self.clipping, images, labels, part, spot - total.count)
                total = total.add_(part)
        total = ranks.add_up(total, mine, len(rows))
        return placed.join(total, draw, coins) if placed and coins else total


@dataclass(eq=False)
class OrdinaryGradient:
    """Computes mean gradients of batches, without a budget.

    Attributes:
      recipe: for the seed, the loss and SAT.
      examples: the training examples.
      autocast: compute type, or None for float32.
    """

    recipe: Recipe
    examples: Examples
    autocast: torch.dtype | None

    def __call__(self, state: State, batch_size: int, physical_batch: int) -> tuple[Gradient, float]:
        """The mean gradient of the next batch of a shuffled pass, and its loss.  With SAT, the gradient is taken a step
        uphill along the batch's own gradient."""
        rows = self._shuffled_batch(state.update, batch_size)
        gradient, loss = self.mean(state.model, rows, state.update, physical_batch)
        if self.recipe.has("sat"):
            # The same views again; statistics of batch norm are those of the first pass.
            buffers = {n: b.clone() for n, b in state.model.named_buffers()}
            with perturbed(state.model, gradient, self.recipe.sharpness_radius):
                gradient, _ = self.mean(state.model, rows, state.update, physical_batch)
            for name, buffer in state.model.named_buffers():
                buffer.copy_(buffers[name])
        return gradient, loss

    def mean(self, model: nn.Module, rows: Tensor, update: int, physical_batch: int) -> tuple[Gradient, float]:
        """The mean gradient of some examples by parameter name, and their mean loss."""
        parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        total = {n: torch.zeros_like(p) for n, p in parameters.items()}
        mean_loss = 0.0
        for part in rows.split(physical_batch):
            images, labels = self.examples.views_and_labels(part, update)
            loss, gradients = self.of_batch(model, list(parameters.values()), images, labels)
            for name, g in zip(total, gradients, strict=True):
                if g is not None:
                    total[name].add_(g, alpha=len(part) / len(rows))
            mean_loss += float(loss) * len(part) / len(rows)
        return total, mean_loss

    def of_batch(
        self, model: nn.Module, parameters: list[nn.Parameter], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """The mean loss over views (n, K, *shape), and its gradients."""
        device = self.examples.labels.device.type
        with torch.autocast(device, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            logits = model(images.flatten(0, 1).float())
        loss = losses_of(self.recipe)(logits, labels.repeat_interleave(images.shape[1])).mean()
        return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

    def noise_scale(self, model: nn.Module, physical_batch: int) -> float:
        """The gradient noise scale, measured on the network after a short warm-up, which is then undone."""
        examples = len(self.examples.labels)
        small = self.recipe.batch_size or examples
        large = min(8 * small, examples)
        if large <= small:
            return float(small)
        before = {n: v.clone() for n, v in model.state_dict().items()}
        shuffle, measured = generator_for(self.recipe.seed, "noise scale"), itertools.count(1)

        def squared_norm(size: int) -> tuple[float, Gradient]:
            rows = torch.randperm(examples, generator=shuffle)[:size]
            # negative numbers: never the views of a real update
            gradient, _ = self.mean(model, rows, -next(measured), physical_batch)
            return sum(float(g.double().square().sum()) for g in gradient.values()), gradient

        for _ in range(_WARM_UP):
            _, gradient = squared_norm(small)
            with torch.no_grad():
                for name, p in model.named_parameters():
                    if name in gradient:
                        p.sub_(gradient[name], alpha=self.recipe.learning_rate)
        pairs = [(squared_norm(small)[0], squared_norm(large)[0]) for _ in range(_PAIRS)]
        model.load_state_dict(before)
        scale = obs.noise_scale([a for a, _ in pairs], [b for _, b in pairs], small, large)
        return min(scale, float(examples))

    def _shuffled_batch(self, update: int, size: int) -> Tensor:
        """The rows of the next batch.  Each pass has a new order, which follows from the seed and the number of the
        pass."""
        examples = len(self.examples.labels)
        number, position = divmod(update, max(1, examples // size))
        order = torch.randperm(examples, generator=generator_for(self.recipe.seed, f"order {number}"))
        return order[position * size : (position + 1) * size]


def physical_batch_for(
    recipe: Recipe,
    execution: Execution,
    model: nn.Module,
    ordinary: OrdinaryGradient,
    clipping: Clipping | None,
) -> int:
    """The number of examples to compute at once: as many as help, or fewer where memory does not allow that many.

    Args:
      recipe, execution: the choices.
      model: on the device.
      ordinary: computes gradients without a budget.
      clipping: computes clipped gradients; None without a budget.
    """
    if execution.physical_batch is not None:
        return execution.physical_batch
    inputs, labels = ordinary.examples.inputs, ordinary.examples.labels
    wanted = max(1, inputs.batch // recipe.multiplicity)
    at_once, least = None, 1
    compute: Callable[[Tensor, Tensor], object]
    if clipping is not None:
        compute = clipping
        if labels.device.type == "cpu" and clipping.objective.side_by_side:
            # the linear method computes a core's share in one piece
            at_once = wanted if isinstance(inputs, PriorInputs) else clipping.at_once(recipe.multiplicity, inputs.shape)
    else:
        twin = copy.deepcopy(model)  # a probe may change the statistics of batch norm
        compute = functools.partial(ordinary.of_batch, twin, [p for p in twin.parameters() if p.requires_grad])
        wanted = min(max(wanted, LEAST), len(labels))
        least = min(LEAST, wanted)
    return physical_batch(
        lambda count: compute(
            torch.zeros(count, recipe.multiplicity, *inputs.shape, device=labels.device),
            torch.zeros(count, dtype=torch.int64, device=labels.device),
        ),
        wanted=wanted,
        least=least,
        at_once=at_once,
        device=labels.device,
        memory=execution.memory,
    )
