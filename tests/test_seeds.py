"""Public random streams: unrelated to each other."""

import ast
import importlib
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trilemma import seeds
from trilemma.attacks import Predictions, learned, matching
from trilemma.seeds import generator_for, rng_for

audit_module = importlib.import_module("trilemma.attacks.audit")  # the package has a function of that name


@given(st.lists(st.tuples(st.integers(0, 2**63), st.text(max_size=9)), min_size=2, max_size=2, unique=True))
def test_each_seed_and_purpose_has_its_own_torch_stream(pairs):
    first, again, other = (torch.rand(8, dtype=torch.float64, generator=generator_for(*p)) for p in (pairs[0], *pairs))
    assert torch.equal(first, again)
    assert not bool((first == other).all())


@given(st.integers(0, 2**40), st.lists(st.text(max_size=12), min_size=2, max_size=2, unique=True))
def test_each_purpose_has_its_own_numpy_stream(seed, purposes):
    first, again, other = (rng_for(seed, purpose).random(4) for purpose in (purposes[0], *purposes))
    neighbor = rng_for(seed + 1, purposes[0]).random(4)
    np.testing.assert_array_equal(first, again)
    assert not (first == other).any()
    assert not (first == neighbor).any()


def test_a_generator_is_used_as_it_is():
    rng = np.random.default_rng(3)
    assert rng_for(rng, "anything") is rng


def test_numpy_pads_its_seeds():
    """Why there is ``rng_for``: if this fails one day, a list of numbers would do."""
    assert np.random.default_rng([7, 2]).random() == np.random.default_rng([7, 2, 0]).random()


def test_no_two_parts_of_an_audit_share_a_stream(monkeypatch):
    """Guards: an attack that draws the numbers of a bootstrap, as the seeds [seed, 2] and [seed, 2, 0] did."""
    streams = []

    def recording(seed, purpose):
        streams.append((seed, purpose))
        return rng_for(seed, purpose)

    for module in (audit_module, learned, matching):
        monkeypatch.setattr(module, "rng_for", recording)
    rng = np.random.default_rng(0)
    examples = Predictions(
        logits=rng.normal(size=(400, 2)),
        labels=np.arange(400) % 2,
        member=np.arange(400) < 200,
        groups=np.arange(400) // 2 % 2,
        sources=np.arange(400) // 4,
    )
    audit_module.audit(examples, match="class,group", seed=5, resamples=5)
    purposes = [purpose for seed, purpose in streams if not isinstance(seed, np.random.Generator)]
    assert {"attack/mlp", "attack/rf", "bootstrap/all", "bootstrap/group/0", "matching"} <= set(purposes)
    assert len(purposes) == len(set(purposes))


def test_numpy_generators_are_made_in_one_place():
    """Guards: a stream by magic number, ``default_rng([seed, 5])``, or one that two purposes share."""
    package = Path(seeds.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and path != Path(seeds.__file__):
                name = ast.unparse(node.func).rpartition(".")[2]
                assert name not in ("default_rng", "RandomState"), f"{path}, line {node.lineno}: use seeds.rng_for"
