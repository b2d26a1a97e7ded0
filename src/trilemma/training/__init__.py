"""Training: the recipe, the update loop, averaging, sharpness, checkpoints."""
