"""``course`` of ``result.json``: what a recipe came to on its data."""

from __future__ import annotations

from typing import Any

from trilemma.training.loop import Training


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
