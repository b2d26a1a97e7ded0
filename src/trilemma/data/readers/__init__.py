"""Readers: one module for each layout in which images come, from files to `trilemma.data.assemble.Part`s."""
