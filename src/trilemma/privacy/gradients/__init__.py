"""Three exact ways to compute a sum of clipped per-example gradients (see ``trilemma.privacy.clipping``)."""
