"""A study small enough to run in tests: real digits, a tiny network, two evaluations."""

TINY = """
title = "Tiny"
about = "For tests."
figures = ["accuracy", "leakage"]
seeds = 2

[[grid]]
data = {name = "digits-s", skew = 0.9, limit = 150, test_limit = 150}
techniques = "gn,pa"
epsilon = ["none", 8.0]
recipe = "tiny-recipe.toml"
removal = {shares = [0.2], control = "class", rank = "histogram"}
"""

RECIPE = """
model = "convnet-4"
batch_size = 25
epochs = 4
learning_rate = 0.1
norm_groups = 2
fewest_updates = 5
evaluations = 2
"""


def write_tiny(folder):
    """Write the study and its recipe into ``folder``; returns the path of the study's file."""
    (folder / "tiny-recipe.toml").write_text(RECIPE)
    path = folder / "tiny.toml"
    path.write_text(TINY)
    return path
