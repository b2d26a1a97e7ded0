"""Holm's correction agrees with its definition.  (The additive model is tested where it compares conditions.)"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.statistics.additive import holm


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_the_step_down_rule(p) -> None:
    """An independent implementation: reject in ascending order while p <= alpha / (how many are left)."""
    adjusted = holm(p)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, index in enumerate(np.argsort(p, kind="stable")):
            if p[index] * (len(p) - rank) > alpha:
                break
            rejected.add(int(index))
        assert {index for index in range(len(p)) if adjusted[index] <= alpha} == rejected
    assert all(a >= q for a, q in zip(adjusted, p, strict=True))
