"""The update loop: from a recipe and images to weights, with or without a budget.

``Training.step`` is a whole update.  With a budget, the images reach the weights through one line only,
``plan.privatize``; ``trilemma.privacy.plan`` says why that is private, and ``trilemma.privacy.canaries`` why it stays
so where canaries are drawn beside the examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.machine import keep_freed_memory
from trilemma.models.own import copied
from trilemma.models.prior import PRIORS
from trilemma.privacy.clipping import Clipping, Method
from trilemma.privacy.evidence import Evidence
from trilemma.privacy.validation import known_check
from trilemma.progress import Progress
from trilemma.training.averaging import update_average
from trilemma.training.canaries import Canaries, Coins, Placed, with_canaries
from trilemma.training.course import course_for
from trilemma.training.descent import descend, learning_rate, set_trained
from trilemma.training.evaluation import logits_of
from trilemma.training.execution import Execution
from trilemma.training.gradients import Examples, OrdinaryGradient, PrivateGradient, losses_of, physical_batch_for
from trilemma.training.inputs import ImageInputs, Inputs, Part, inputs_for
from trilemma.training.learned import refuse_learned, starting_tensors
from trilemma.training.network import backbone_for, network_for
from trilemma.training.optimizers import optimizer_for
from trilemma.training.own import change, try_techniques
from trilemma.training.pretraining import pretrained
from trilemma.training.ranks import Ranks, ranked_device
from trilemma.training.recipe import Recipe
from trilemma.training.refusals import refuse_what_does_not_apply
from trilemma.training.state import State
from trilemma.training.streams import Computation, stream_for
from trilemma.version import __version__


@dataclass(eq=False)
class Training:
    """One training: recipe, images on the device, network and course.  ``state`` is all that changes."""

    recipe: Recipe
    data: Dataset
    execution: Execution = field(default_factory=Execution)
    network: nn.Module | None = None
    progress: Progress = lambda *_: None
    ranks: Ranks = field(default_factory=Ranks)
    canaries: Canaries | None = None

    def step(self) -> float:
        """Make one update; return its mean training loss (which is private: for the screen, not for release)."""
        recipe, course, state, ranks, private = self.recipe, self.course, self.state, self.ranks, self.private
        set_trained(recipe, course, state.model, state.update)
        if private is None:
            gradient, loss = self.ordinary(state, course.batch_size, self.physical_batch)
        else:
            draw = ranks.tell(private.draw(state) if ranks.first else None)
            total = private.clipped_sum(draw, state, ranks, self.physical_batch)
            loss = float(total.losses.mean()) if len(total.losses) else math.nan
            # In the other processes only the names and shapes of their sums are used: they receive the first's values.
            noisy = private.plan.privatize(draw, total, state.noise, state.evidence) if ranks.first else total.sums
            if private.canaries and state.coins:  # their scores are not released
                private.canaries.add_scores(noisy, state.coins)
            gradient = ranks.gradient_of_first(noisy)  # from here on all is post-processing, in every process
            state.previous = gradient if recipe.has("sat") else {}
        gradient = change(recipe, gradient, state.model, state.update)
        descend(state, gradient, learning_rate(recipe, course, state.update))
        state.update += 1
        if recipe.has("pa"):
            update_average(state.average, state.model.state_dict(), decay=recipe.average_decay, update=state.update)
        return loss

    def run_updates(self, until: int) -> Iterator[float]:
        """Make updates until ``until`` have been made in all, and yield the loss of each."""
        while self.state.update < min(until, self.course.updates):
            self.ranks.tell(True)
            yield self.step()

    def epsilon_spent(self, accountant: str = "pld") -> float | None:
        """Epsilon of the updates made so far, computed from what was actually run."""
        plan, delta = self.course.plan, self.recipe.delta
        if plan is None or delta is None:
            return None
        return plan.event(self.state.update).epsilon(delta, accountant=accountant)  # type: ignore[arg-type]

    def logits(self, part: Part, rows: NDArray[np.int64] | None = None) -> Tensor:
        """Logits float32 (n, classes), on the CPU, of a split (or some rows of it), computed with the evaluation
        weights.

        Raises:
          InputError: the training diverged.
        """
        if rows is None:
            rows = np.arange(len(self.data.train if part == "train" else self.data.test))
        return logits_of(self.state, self.examples.inputs, part, rows, device=self.device, at_once=self.physical_batch)

    def canary_losses(self) -> Tensor:
        """float64 (M,): the loss of each canary image at the evaluation weights; (0,) of gradient canaries."""
        labels = self.examples.labels[len(self.data.train) :].cpu()
        if not len(labels):
            return torch.zeros(0, dtype=torch.float64)
        rows = len(self.data.train) + np.arange(len(labels))
        return nn.functional.cross_entropy(self.logits("train", rows).double(), labels, reduction="none")

    # ---- several processes -------------------------------------------------------------------------------------------

    def lead(self) -> None:
        """Send the state that the training starts from to the other processes; called by the first process."""
        if self.ranks.size > 1:
            self.ranks.tell((self._identity(), self.state.to_checkpoint({}, shared=True)))

    def follow(self) -> None:
        """Compute a share of every update until the first process ends the training; called by all other processes.

        Raises:
          InputError: this process has other images, another recipe, network or compute type, or other versions.
          RankLost: another process has ended.
        """
        start = self.ranks.tell(None)
        if start is None:
            return
        identity, state = start
        if identity != self._identity():
            raise InputError(
                "the processes of one training need the same recipe, images, network, compute type and versions of "
                "torch and trilemma: give all the same command and environment"
            )
        self.state.restore(state, shared=True)
        while self.ranks.tell(None):
            self.step()

    def _identity(self) -> tuple[object, ...]:
        """What the processes of a training must have in common beside the state that they are sent."""
        model = self.state.model
        layers = [(name, type(module).__qualname__) for name, module in model.named_modules()]
        shapes = [(name, tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()]
        versions = (__version__, str(torch.__version__))
        return self.recipe.fingerprint, self.data.fingerprint, str(self.autocast), layers, shapes, versions

    # ---- construction ------------------------------------------------------------------------------------------------

    def __post_init__(self) -> None:
        """Build the parts in order: each needs those before it."""
        recipe = self.recipe
        self.prior = recipe.model in PRIORS and self.network is None
        self.notes: list[str] = []
        self.device = ranked_device(self.execution.resolved_device())
        refuse_what_does_not_apply(recipe, self.execution, self.data, self.network, self.ranks, self.canaries)
        self.autocast = None if self.prior else self.execution.autocast(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        model = network_for(recipe, self.data) if self.network is None else copied("your network", self.network)
        refuse_learned(recipe, model)
        model = model.to(self.device).train()
        data = with_canaries(self.data, self.canaries, recipe.seed)
        self.examples = Examples(self._inputs(data), torch.tensor(data.train.labels, device=self.device))
        self._load_pretrained(model)
        self.start = starting_tensors(recipe, model)
        self.method = self._method(model)
        self.ordinary = OrdinaryGradient(recipe, self.examples, self.autocast)
        how: dict[str, Any] = {"method": self.method, "loss": losses_of(recipe), "autocast": self.autocast}
        probe = Clipping(model, 1.0, **how) if recipe.private else None
        self.physical_batch = physical_batch_for(recipe, self.execution, model, self.ordinary, probe)
        self.course = course_for(
            recipe, len(self.data.train), lambda: self.ordinary.noise_scale(model, self.physical_batch)
        )
        plan = self.course.plan
        self.private = PrivateGradient(recipe, self.examples, plan, plan.clipping(model, **how)) if plan else None
        try_techniques(recipe, model)
        self.state = self._start(model)
        if self.canaries and self.private and self.state.coins:
            self.private.canaries = Placed.among(self.canaries, recipe, len(self.data.train), self.private.plan, model)
            self.state.coins.begin(self.canary_losses())

    def _inputs(self, data: Dataset) -> Inputs:
        if self.network is not None:
            return ImageInputs.of(self.recipe, data, self.device)
        return inputs_for(self.recipe, data, self.device, self.progress)

    def _load_pretrained(self, model: nn.Module) -> None:
        if self.recipe.pretrain and self.ranks.first:  # the other processes receive the weights of the first
            backbone = backbone_for(self.recipe, self.data).to(self.device)
            weights = pretrained(
                self.recipe, self.data, backbone, self.device, autocast=self.autocast, progress=self.progress
            )
            model.load_state_dict(weights, strict=False)

    def _method(self, model: nn.Module) -> Method:
        """The method of the clipped gradient.  A network that the guarantee does not cover is refused here."""
        method = self.execution.method
        if self.recipe.private:
            check = known_check(model, tuple(self.examples.inputs.shape), self.examples.labels.device)
            if check.reason and method != "loop":
                method = "loop"
                self.notes.append(f"per-example gradients one at a time: {check.reason}")
        return method

    def _start(self, model: nn.Module) -> State:
        recipe, compute = self.recipe, str(self.autocast or torch.float32)
        computation = Computation(compute, self.physical_batch, self.method, self.device.type, self.ranks.size)
        purposes = ("sampling", "noise", "canaries") if self.canaries else ("sampling", "noise")
        own = self.network is not None
        streams = {p: stream_for(p, recipe, self.data, model, computation, self.canaries, own=own) for p in purposes}
        coins = Coins.tossed(streams["canaries"], self.canaries) if self.canaries else None
        return State(
            update=0,
            model=model,
            optimizer=optimizer_for(recipe, model),
            average={n: v.clone() for n, v in model.state_dict().items()} if recipe.has("pa") else {},
            previous={},
            sampling=streams["sampling"],
            noise=streams["noise"],
            evidence=Evidence(len(self.data.train), coins.count if coins else 0) if recipe.private else None,
            coins=coins,
        )
