"""Fit a packaged recipe's batch to a data set with fewer examples than one batch."""

from __future__ import annotations

from dataclasses import replace

from trilemma.training.recipe import Recipe


def fit_to(recipe: Recipe, examples: int) -> tuple[Recipe, str | None]:
    """The recipe as it is, or, where its batch is larger than the data, one with a batch that fits.

    The rule: the batch becomes the largest power of two up to half of the examples.  The learning rate is scaled with
    it (Goyal et al. 2017), and the number of updates follows from the epochs, which stay.  For recipes whose batch
    nobody asked for: one that was asked for is refused instead.

    Args:
      recipe: its batch size 0 means all examples, which always fits.
      examples: N, of the training split.

    Returns:
      (the recipe, what was changed in one sentence or None).

    >>> small, words = fit_to(Recipe(batch_size=512, learning_rate=2.0), 100)
    >>> small.batch_size, small.learning_rate
    (32, 0.125)
    """
    if recipe.batch_size <= examples or examples < 2:
        return recipe, None
    size = 2 ** ((examples // 2).bit_length() - 1)
    rate = recipe.learning_rate * size / recipe.batch_size
    words = (
        f"the recipe's batch of {recipe.batch_size} is larger than the data ({examples} examples): batches of {size} "
        f"(the largest power of two up to half of them) and a learning rate of {rate:.3g} (in proportion) replace it"
    )
    return replace(recipe, batch_size=size, learning_rate=rate), words
