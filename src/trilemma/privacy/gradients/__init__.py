"""Three exact ways to compute a sum of clipped per-example gradients (see ``trilemma.privacy.clipping``).

``sums`` has the sum as a value and what all ways share; ``loop``, ``linear`` and ``layerwise`` are the ways.  The
layerwise way records the calls of layers (``hooks``), turns them into contributions (``contributions``), and has a rule
for each kind of layer (``rules``).  ``arithmetic`` guards float32 sums against coarser
rounding.
"""
