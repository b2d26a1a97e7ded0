"""Public random streams: unrelated to each other."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from trilemma.seeds import generator_for


@given(st.lists(st.tuples(st.integers(0, 2**63), st.text(max_size=9)), min_size=2, max_size=2, unique=True))
def test_each_seed_and_purpose_has_its_own_stream(pairs):
    one, again, other = (torch.rand(8, dtype=torch.float64, generator=generator_for(*p)) for p in (pairs[0], *pairs))
    assert torch.equal(one, again)
    assert not bool((one == other).all())
