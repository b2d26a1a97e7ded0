"""The update loop: from a recipe and images to weights, with or without a budget.

``run_updates`` is the whole of it.  With a budget, the images reach the weights through one line only,
``plan.privatize``; ``trilemma.privacy.plan`` says why that is private.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.machine import keep_freed_memory
from trilemma.models import build
from trilemma.models.layers import Norm
from trilemma.models.prior import PRIORS, features_in
from trilemma.privacy.clipping import Clipping
from trilemma.privacy.evidence import Evidence
from trilemma.privacy.plan import Plan
from trilemma.privacy.validation import check_network, refuse_random_layers
from trilemma.progress import Progress
from trilemma.seeds import generator_for
from trilemma.threads import in_threads, one_each, threads
from trilemma.training import batch_size as obs
from trilemma.training.averaging import update_average
from trilemma.training.execution import Execution
from trilemma.training.inputs import ImageInputs, Inputs, Part, PriorInputs
from trilemma.training.memory import physical_batch
from trilemma.training.pretraining import HEAD, pretrained
from trilemma.training.ranks import Ranks, ranked_device
from trilemma.training.recipe import Recipe
from trilemma.training.sharpness import perturbed
from trilemma.training.state import State
from trilemma.training.streams import Computation, stream_for

Gradient = dict[str, Tensor]

LEAST = 64
"""Examples, at least, of which an ordinary gradient is computed at once: batch norm needs some."""


@dataclass(frozen=True)
class Course:
    """What a recipe comes to on N examples.

    Attributes:
      batch_size: of the logical batch, after OBS.
      updates: T.
      learning_rate: at its peak, after OBS.
      plan: the private plan, or None without a budget.
      choice: what OBS weighed, or None.
    """

    batch_size: int
    updates: int
    learning_rate: float
    plan: Plan | None
    choice: obs.Choice | None

    def evaluation_points(self, count: int) -> list[int]:
        """The updates after which the run is measured: evenly spread, the last included."""
        return sorted({max(1, round(self.updates * (k + 1) / count)) for k in range(count)})


@dataclass(eq=False)
class Training:
    """One training: recipe, images on the device, network and course.  ``state`` is all that changes."""

    recipe: Recipe
    data: Dataset
    execution: Execution = field(default_factory=Execution)
    network: nn.Module | None = None
    progress: Progress = lambda *_: None
    ranks: Ranks = field(default_factory=Ranks)

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.device = ranked_device(self.execution.resolved_device())
        if self.device.type == "cpu":
            keep_freed_memory()
        self.said: list[str] = []
        prior = recipe.model in PRIORS and self.network is None
        if self.ranks.size > 1 and (prior or not recipe.private):
            what = f"{recipe.model} is trained by one process" if prior else "several processes are for a budget"
            raise InputError(f"{what}: run the same command without torchrun")
        if prior:
            self._check_prior()
        self.autocast = None if prior else self.execution.autocast(self.device)
        if recipe.pretrain and (prior or self.network is not None):
            whose = f"{recipe.model} is fitted to them already" if prior else "it is for networks by name"
            raise InputError(f"pre-training on synthetic images does not apply here ({whose}): leave --pretrain out")
        model = self.network if self.network is not None else self.build_network(recipe, self.data)
        model.to(self.device).train()
        self.inputs: Inputs = (
            PriorInputs.of(recipe, self.data, self.device, self.progress)
            if prior
            else ImageInputs.of(recipe, self.data, self.device)
        )
        if recipe.pretrain and self.ranks.first:  # the others get the weights of the first
            trunk = pretrained(
                recipe, self.data, self._trunk(), self.device, autocast=self.autocast, progress=self.progress
            )
            model.load_state_dict(trunk, strict=False)
        self.method = self.execution.method
        if recipe.private:
            check = check_network(model, self.inputs.shape, device=self.device)
            if check.reason and self.method != "loop":
                self.method = "loop"
                self.said.append(f"per-example gradients one at a time: {check.reason}")
        self.labels = torch.tensor(self.data.train.labels, device=self.device)
        self.physical_batch = self._physical_batch(model)
        self.course = self._course(model)
        self.clipping = (
            self.course.plan.clipping(model, method=self.method, loss=self._losses, autocast=self.autocast)
            if self.course.plan
            else None
        )
        computation = Computation(
            str(self.autocast or torch.float32), self.physical_batch, self.method, self.device.type, self.ranks.size
        )
        self.state = State(
            0,
            model,
            {},
            {n: v.clone() for n, v in model.state_dict().items()} if recipe.has("pa") else {},
            {},
            stream_for("sampling", recipe, self.data, model, computation),
            stream_for("noise", recipe, self.data, model, computation),
            Evidence(len(self.labels)) if recipe.private else None,
        )

    def _check_prior(self) -> None:
        """What does not apply to a linear model on fixed features is refused, not silently left out."""
        for code, layers in (("gn", "norm layers"), ("ws", "convolutions that are trained")):
            if self.recipe.has(code):
                rest = ",".join(code for code in self.recipe.techniques if code not in ("gn", "ws")) or "none"
                raise InputError(
                    f"{code} does not apply to {self.recipe.model}, which has no {layers}: use --techniques {rest}"
                )
        if self.execution.compute == "bfloat16":
            raise InputError(
                f"{self.recipe.model} is trained in float32, so that no sum is rounded before the noise is added: "
                "use --compute float32"
            )

    def _trunk(self) -> nn.Module:
        """A network to pre-train, whose start values depend on ``prior_seed`` and not on the seed of this training."""
        return self.build_network(replace(self.recipe, seed=self.recipe.prior_seed), self.data).to(self.device)

    @staticmethod
    def build_network(recipe: Recipe, data: Dataset) -> nn.Module:
        """The recipe's network at its start values; of a prior, what is trained of it: the linear head."""
        if recipe.model in PRIORS:
            head = nn.Linear(features_in(recipe.model), len(data.classes), bias=False)
            nn.init.zeros_(head.weight)
            return head
        norm: Norm = "group" if recipe.has("gn") else "none" if recipe.private else "batch"
        return build(
            recipe.model,
            classes=len(data.classes),
            image_shape=data.image_shape,
            norm=norm,
            groups=recipe.norm_groups,
            norm_first=recipe.norm_first,
            standardized=recipe.has("ws"),
            generator=generator_for(recipe.seed, "weights"),
        )

    def _course(self, model: nn.Module) -> Course:
        recipe, examples = self.recipe, len(self.data.train)
        base = recipe.batch_size or examples
        if base > examples:
            raise InputError(
                f"a batch of {recipe.batch_size} is larger than the data ({examples} examples): "
                f"use --batch-size {examples} or less"
            )
        size, choice = base, None
        if recipe.has("obs"):
            limits = {
                "batch_size": size,
                "epochs": recipe.epochs,
                "examples": examples,
                "fewest_updates": recipe.fewest_updates,
            }
            if recipe.epsilon is not None and recipe.delta is not None:
                choice = obs.with_budget(epsilon=recipe.epsilon, delta=recipe.delta, **limits)  # type: ignore[arg-type]
            else:
                choice = obs.without_budget(self._noise_scale(model), **limits)  # type: ignore[arg-type]
            size = choice.batch_size
        updates = obs.updates_for(size, epochs=recipe.epochs, examples=examples)
        plan = None
        if recipe.epsilon is not None and recipe.delta is not None:
            plan = Plan.calibrated(
                epsilon=recipe.epsilon,
                delta=recipe.delta,
                batch_size=size,
                updates=updates,
                examples=examples,
                clipping_norm=recipe.clipping_norm,
                allow_large_delta=recipe.allow_large_delta,
            )
        return Course(size, updates, recipe.learning_rate * size / base, plan, choice)

    def _physical_batch(self, model: nn.Module) -> int:
        """Examples computed at once: as many as help, fewer where those take more memory than they may."""
        recipe, execution = self.recipe, self.execution
        views = recipe.views if recipe.has("am") else 1
        wanted = max(1, self.inputs.batch // views)
        if execution.physical_batch is not None:
            return execution.physical_batch
        at_once, least = None, 1
        compute: Callable[[Tensor, Tensor], object]
        if recipe.private:
            compute = clipping = Clipping(model, 1.0, method=self.method, loss=self._losses, autocast=self.autocast)
            if self.device.type == "cpu":  # the linear method computes a core's share in one piece
                at_once = wanted if isinstance(self.inputs, PriorInputs) else clipping.at_once(views)
        else:
            twin = copy.deepcopy(model)  # whose statistics of batch norm may change
            parameters = [p for p in twin.parameters() if p.requires_grad]
            compute = functools.partial(self._loss_and_gradient, twin, parameters)
            wanted = min(max(wanted, LEAST), len(self.labels))
            least = min(LEAST, wanted)
        return physical_batch(
            lambda count: compute(
                torch.zeros(count, views, *self.inputs.shape, device=self.device),
                torch.zeros(count, dtype=torch.int64, device=self.device),
            ),
            wanted=wanted,
            least=least,
            at_once=at_once,
            device=self.device,
            memory=execution.memory,
        )

    def _noise_scale(self, model: nn.Module) -> float:
        """Measured on the network after a short warm-up, which is then undone."""
        before = {n: v.clone() for n, v in model.state_dict().items()}
        order, measured = generator_for(self.recipe.seed, "noise scale"), itertools.count(1)
        examples = len(self.labels)
        small = self.recipe.batch_size or examples
        large = min(8 * small, examples)
        if large <= small:
            return float(small)

        def squared_norm(size: int) -> tuple[float, Gradient]:
            rows = torch.randperm(examples, generator=order)[:size]
            gradient, _ = self._mean_gradient(model, rows, -next(measured))  # no update's views
            return sum(float(g.double().square().sum()) for g in gradient.values()), gradient

        for _ in range(30):
            _, gradient = squared_norm(small)
            with torch.no_grad():
                for name, p in model.named_parameters():
                    if name in gradient:
                        p.sub_(gradient[name], alpha=self.recipe.learning_rate)
        pairs = [(squared_norm(small)[0], squared_norm(large)[0]) for _ in range(10)]
        model.load_state_dict(before)
        scale = obs.noise_scale([a for a, _ in pairs], [b for _, b in pairs], small, large)
        return min(scale, float(examples))

    # ---- one update -------------------------------------------------------------------------------------------

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits.float(), labels, reduction="none", label_smoothing=self.recipe.label_smoothing
        )

    def _views(self, rows: Tensor, update: int) -> tuple[Tensor, Tensor]:
        """What an update sees of training examples: views (n, K, *shape) float and labels (n,); K = 1 and the example
        itself without AM."""
        return self.inputs.views(rows, update), self.labels[rows.to(self.device)]

    def _private_gradient(self, plan: Plan, clipping: Clipping) -> tuple[Gradient, float]:
        """The privatized mean gradient of one Poisson draw, and the mean loss (which is not private)."""
        state, ranks = self.state, self.ranks
        draw = ranks.tell(plan.draw(state.sampling) if ranks.first else None)
        mine = ranks.share(len(draw))
        total = clipping.zero()
        uphill = perturbed(state.model, state.previous or None, self.recipe.sharpness_radius)
        with one_each(), refuse_random_layers(self.device), uphill:
            for places in mine.split(self.physical_batch) if len(mine) else ():
                images, labels = self._views(draw.indices[places], state.update)
                part = clipping(images, labels)
                if ranks.first and state.evidence is not None and state.evidence.spot_due():
                    state.evidence.spot(clipping, images, labels, part)
                total = total.add_(part)
        total = ranks.add_up(total, mine, len(draw))
        loss = float(total.losses.mean()) if total.count else math.nan
        gradient = plan.privatize(draw, total, state.noise, state.evidence) if ranks.first else total.sums
        return ranks.gradient_of_first(gradient), loss

    def _ordinary_gradient(self) -> tuple[Gradient, float]:
        """The mean gradient of the next batch of a shuffled pass; with SAT, taken where it leads uphill."""
        state, recipe = self.state, self.recipe
        rows = self._shuffled_batch()
        gradient, loss = self._mean_gradient(state.model, rows, state.update)
        if recipe.has("sat"):
            # The same views again; statistics of batch norm are those of the first pass.
            buffers = {n: b.clone() for n, b in state.model.named_buffers()}
            with perturbed(state.model, gradient, recipe.sharpness_radius):
                gradient, _ = self._mean_gradient(state.model, rows, state.update)
            for name, buffer in state.model.named_buffers():
                buffer.copy_(buffers[name])
        return gradient, loss

    def _shuffled_batch(self) -> Tensor:
        """The rows of the next batch: pass after pass over a new order, computed from the seed and the update."""
        size, examples = self.course.batch_size, len(self.labels)
        per_pass = max(1, examples // size)
        number, position = divmod(self.state.update, per_pass)
        order = torch.randperm(examples, generator=generator_for(self.recipe.seed, f"order {number}"))
        return order[position * size : (position + 1) * size]

    def _mean_gradient(self, model: nn.Module, rows: Tensor, update: int) -> tuple[Gradient, float]:
        parameters = dict(model.named_parameters())
        total = {n: torch.zeros_like(p) for n, p in parameters.items() if p.requires_grad}
        loss = 0.0
        for part in rows.split(self.physical_batch):
            images, labels = self._views(part, update)
            value, found = self._loss_and_gradient(model, [parameters[n] for n in total], images, labels)
            for name, g in zip(total, found, strict=True):
                if g is not None:
                    total[name].add_(g, alpha=len(part) / len(rows))
            loss += float(value) * len(part) / len(rows)
        return total, loss

    def _loss_and_gradient(
        self, model: nn.Module, parameters: list[nn.Parameter], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        with torch.autocast(self.device.type, dtype=self.autocast or torch.bfloat16, enabled=self.autocast is not None):
            logits = model(images.flatten(0, 1).float())
        loss = self._losses(logits, labels.repeat_interleave(images.shape[1])).mean()
        return loss.detach(), torch.autograd.grad(loss, parameters, allow_unused=True)

    def _rate(self) -> float:
        done = self.state.update / self.course.updates
        rate = self.course.learning_rate
        if self.recipe.warmup > 0:
            rate *= min(1.0, (self.state.update + 1) / (self.recipe.warmup * self.course.updates))
        return rate * (1 + math.cos(math.pi * done)) / 2 if self.recipe.schedule == "cosine" else rate

    def step(self) -> float:
        """One update; returns its mean training loss (private: for the screen, not for release)."""
        recipe, state = self.recipe, self.state
        rate = self._rate()
        if recipe.pretrain:
            # What is frozen takes no part: it is neither clipped with the rest nor given noise.
            head_only = state.update < round(recipe.head_first * self.course.updates)
            for name, p in state.model.named_parameters():
                p.requires_grad_(name.startswith(HEAD) or not head_only)
            rate *= recipe.head_rate if head_only else 1.0
        if self.course.plan is not None and self.clipping is not None:
            gradient, loss = self._private_gradient(self.course.plan, self.clipping)
            state.previous = gradient if recipe.has("sat") else {}
        else:
            gradient, loss = self._ordinary_gradient()
        self._descend(gradient, rate)
        state.update += 1
        if recipe.has("pa"):
            update_average(state.average, state.model.state_dict(), decay=recipe.average_decay, update=state.update)
        return loss

    @torch.no_grad()
    def _descend(self, gradient: Gradient, rate: float) -> None:
        """SGD with momentum and weight decay: v <- m v + g + d w; w <- w - rate * v."""
        recipe, momentum = self.recipe, self.state.momentum
        for name, p in self.state.model.named_parameters():
            if name not in gradient:
                continue
            g = gradient[name]
            if recipe.weight_decay:
                g = g.add(p, alpha=recipe.weight_decay)
            if recipe.momentum:
                g = momentum[name].mul_(recipe.momentum).add_(g) if name in momentum else g.clone()
                momentum[name] = g
            p.sub_(g.to(p.dtype), alpha=rate)

    def run_updates(self, until: int) -> Iterator[float]:
        """Updates until ``until`` have been made; yields the loss of each."""
        while self.state.update < min(until, self.course.updates):
            self.ranks.tell(True)
            yield self.step()

    # ---- several processes -------------------------------------------------------------------------------------

    def lead(self) -> None:
        """Give the others the state that the training starts from: called by the first process."""
        if self.ranks.size > 1:
            self.ranks.tell((self._identity(), self.state.to_checkpoint({})))

    def follow(self) -> None:
        """What the processes but the first do: their share of every update, until the first says that it is over.

        Raises:
          InputError: this process has other images or another recipe.
          RankLost: another process has ended.
        """
        start = self.ranks.tell(None)
        if start is None:
            return
        identity, state = start
        if identity != self._identity():
            raise InputError("the processes of one training need the same recipe and images: give all the same command")
        self.state.restore(state)
        while self.ranks.tell(None):
            self.step()

    def _identity(self) -> tuple[str, str]:
        return self.recipe.fingerprint, self.data.fingerprint

    # ---- looking at the result ----------------------------------------------------------------------------------

    def epsilon_spent(self, accountant: str = "pld") -> float | None:
        """Epsilon of the updates made so far, from the event that happened."""
        plan, delta = self.course.plan, self.recipe.delta
        if plan is None or delta is None:
            return None
        return plan.event(self.state.update).epsilon(delta, accountant=accountant)  # type: ignore[arg-type]

    @torch.no_grad()
    def logits(self, part: Part, rows: NDArray[np.int64] | None = None) -> Tensor:
        """Logits float32 (n, classes), on the CPU, of a split (or some rows of it) under the evaluation weights."""
        model = self.state.model
        if rows is None:
            rows = np.arange(len(self.data.train if part == "train" else self.data.test))
        last = {n: v.clone() for n, v in model.state_dict().items()} if self.state.average else None
        model.load_state_dict(self.state.evaluation_weights())
        model.eval()
        # On a CPU few examples on each core: they stay in its cache, and no layer waits for another core.  A network of
        # the user's own may not bear two threads.
        by_core = self.device.type == "cpu" and self.network is None
        size = self.inputs.batch // 4 if by_core else max(256, self.physical_batch)

        def of_part(start: int) -> Tensor:
            with torch.no_grad():  # which is each thread's own
                outputs: Tensor = model(self.inputs.plain(part, rows[start : start + size]))
            return outputs.float().cpu()

        try:
            starts = range(0, len(rows), size)
            logits = torch.cat([*in_threads(of_part, starts, threads() if by_core else 1)])
        finally:
            model.train()
            if last is not None:
                model.load_state_dict(last)
        if not bool(torch.isfinite(logits).all()):
            raise InputError(
                f"the training diverged by update {self.state.update} (the network's outputs are not finite): "
                "use a smaller learning rate"
            )
        return logits
