"""How it learns: the recipe, the update loop, averaging, sharpness, checkpoints."""
