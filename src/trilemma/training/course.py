"""The course of a training: batch size, number of updates, peak learning rate and private plan for N examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trilemma.errors import InputError
from trilemma.privacy.plan import Plan
from trilemma.training import batch_size as obs
from trilemma.training.recipe import Recipe


@dataclass(frozen=True)
class Course:
    """What a recipe amounts to on N examples.

    Attributes:
      batch_size: the size of the logical batch, after OBS.
      updates: T.
      learning_rate: at its peak, after OBS.
      plan: the private plan, or None without a budget.
      choice: the candidates that OBS compared, or None without OBS.
    """

    batch_size: int
    updates: int
    learning_rate: float
    plan: Plan | None
    choice: obs.Choice | None

    def evaluation_points(self, count: int) -> list[int]:
        """The updates after which the run is measured: evenly spread, the last included."""
        return sorted({max(1, round(self.updates * (k + 1) / count)) for k in range(count)})


def course_for(recipe: Recipe, examples: int, noise_scale: Callable[[], float]) -> Course:
    """The course of ``recipe`` on ``examples`` training examples.

    Args:
      recipe: all choices.
      examples: N.
      noise_scale: measures the gradient noise scale.  Called only by OBS without a budget: with a budget, the
        measurement would look at private gradients.

    Raises:
      InputError: a batch larger than the data, or a budget out of reach.
      PrivacyError: delta of 1/N or more.
    """
    base = recipe.batch_size or examples
    if base > examples:
        raise InputError(
            f"a batch of {recipe.batch_size} is larger than the data ({examples} examples): "
            f"use --batch-size {examples} or less"
        )
    choice = _choice(recipe, base, examples, noise_scale) if recipe.has("obs") else None
    size = choice.batch_size if choice else base
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


def _choice(recipe: Recipe, size: int, examples: int, noise_scale: Callable[[], float]) -> obs.Choice:
    limits = {
        "batch_size": size,
        "epochs": recipe.epochs,
        "examples": examples,
        "fewest_updates": recipe.fewest_updates,
    }
    if recipe.epsilon is not None and recipe.delta is not None:
        return obs.with_budget(epsilon=recipe.epsilon, delta=recipe.delta, **limits)  # type: ignore[arg-type]
    return obs.without_budget(noise_scale(), **limits)  # type: ignore[arg-type]
