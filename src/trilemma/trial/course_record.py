"""The resolved schedule of a run: ``course`` of ``result.json``, and in words before the first update."""

from __future__ import annotations

from typing import Any

from trilemma.training.loop import Training
from trilemma.words import clean, exact, power


def course_record(training: Training) -> dict[str, Any]:
    """Batch size, updates, learning rate and views as they were, and how gradients were computed."""
    recipe, course = training.recipe, training.course
    choice = course.choice
    return {
        "batch_size": course.batch_size,
        "physical_batch": training.physical_batch,
        "updates": course.updates,
        "learning_rate": course.learning_rate,
        "views": recipe.multiplicity,
        "optimal_batch_size": None if choice is None else {"rule": choice.rule, "weighed": choice.weighed},
        "gradient_method": training.method if recipe.private else None,
    }


def course_in_words(training: Training) -> str:
    """Model, data, batch, updates and budget, in two lines."""
    recipe, course, data = training.recipe, training.course, training.data
    techniques = ", ".join(recipe.techniques)
    views = f", {recipe.multiplicity} views of each example" if recipe.multiplicity > 1 else ""
    batches = f"{course.updates:,} updates with batches of {course.batch_size:,}{views}"
    if course.plan is None or recipe.epsilon is None or recipe.delta is None:
        budget = "no privacy budget"
    else:
        noise = f"noise multiplier {course.plan.noise_multiplier:g}"
        budget = f"budget ε = {exact(recipe.epsilon)} at δ = {power(recipe.delta)}, {noise}"
    network = recipe.model if training.network is None else clean(type(training.network).__name__)
    return (
        f"{network}, {f'techniques {techniques}' if techniques else 'no techniques'}, on {clean(data.name)}: "
        f"{len(data.train):,} training and {len(data.test):,} test examples\n{batches}; {budget}"
        f"{f'; resuming after update {training.state.update:,}' if training.state.update else ''}"
    )
