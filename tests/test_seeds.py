"""Random streams: unrelated to each other, and those of noise too many to be tried."""

import ast
import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from trilemma import seeds
from trilemma.attacks import Predictions, learned, matching
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import PrivacyError
from trilemma.seeds import generator_for, private_generator, rng_for
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe

audit_module = importlib.import_module("trilemma.attacks.audit")  # the package has a function of that name
CPU = torch.device("cpu")


def words(generator):
    return generator.get_state().numpy()[seeds._STATE].view(np.uint64).tolist()


def follows_from_its_first_word(state):
    """Whether a Mersenne Twister's state is one of those 2^32 that come from a seed (Matsumoto and Nishimura 2002)."""
    return all(
        b == (1812433253 * (a ^ (a >> 30)) + i) & 0xFFFFFFFF for i, (a, b) in enumerate(itertools.pairwise(state), 1)
    )


def test_torch_itself_uses_32_bits_of_a_seed():
    """Why there is ``private_generator``: if this fails one day, it may go."""
    one, other = (torch.Generator().manual_seed(seed) for seed in (5, 5 + 7 * 2**40))
    assert torch.equal(torch.randn(9, generator=one), torch.randn(9, generator=other))
    assert follows_from_its_first_word(words(generator_for(0, "noise")))


@given(st.binary(max_size=40))
def test_a_private_stream_comes_from_no_seed(key):
    state = words(private_generator(key, CPU))
    assert not follows_from_its_first_word(state)
    assert len(set(state)) > 600  # of 624 random words of 32 bits two are alike once in twenty thousand times


@pytest.mark.parametrize("secret", [False, True])
def test_a_training_draws_from_private_streams(secret):
    """Guards: sampling or noise from a generator that was seeded, however long the seed is."""
    split = Split(np.zeros((40, 3, 8, 8), dtype=np.uint8), np.arange(40) % 2)
    recipe = Recipe(model="convnet-4", epsilon=8.0, batch_size=10, epochs=1, secret_noise=secret)
    state = Training(recipe, Dataset("none", split, split, ("a", "b")), Execution("cpu")).state
    sampling, noise = words(state.sampling), words(state.noise)
    assert sampling != noise
    assert not follows_from_its_first_word(sampling)
    assert not follows_from_its_first_word(noise)


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=2, unique=True))
def test_each_key_has_its_own_stream(keys):
    one, again, other = (
        torch.rand(4, dtype=torch.float64, generator=private_generator(key, CPU)) for key in (keys[0], *keys)
    )
    assert torch.equal(one, again)
    assert not bool((one == other).any())


@pytest.mark.parametrize(("draw", "law"), [(torch.rand, "uniform"), (torch.randn, "norm")])
def test_what_is_drawn_follows_its_law(draw, law):
    """False alarm once in a million."""
    for key in (b"", b"a", b"b"):
        numbers = draw(100_000, dtype=torch.float64, generator=private_generator(key, CPU))
        assert kstest(numbers.numpy(), law).pvalue > 1e-6 / 3


@pytest.mark.parametrize("start", [16, 20, 32, 5000])
def test_a_state_kept_in_another_way_is_refused(start, monkeypatch):
    monkeypatch.setattr(seeds, "_STATE", slice(start, start + 8 * 624))
    with pytest.raises(PrivacyError, match="use a version from"):
        private_generator(b"key", CPU)


@given(st.integers(0, 2**40), st.lists(st.text(max_size=12), min_size=2, max_size=2, unique=True))
def test_each_purpose_has_its_own_numpy_stream(seed, purposes):
    one, again, other = (rng_for(seed, purpose).random(4) for purpose in (purposes[0], *purposes))
    neighbor = rng_for(seed + 1, purposes[0]).random(4)
    np.testing.assert_array_equal(one, again)
    assert not (one == other).any()
    assert not (one == neighbor).any()


def test_a_generator_is_used_as_it_is():
    rng = np.random.default_rng(3)
    assert rng_for(rng, "anything") is rng


def test_numpy_pads_its_seeds():
    """Why there is ``rng_for``: if this fails one day, a list of numbers would do."""
    assert np.random.default_rng([7, 2]).random() == np.random.default_rng([7, 2, 0]).random()


def test_no_two_parts_of_an_audit_share_a_stream(monkeypatch):
    """Guards: an attack that draws the numbers of a bootstrap, as the seeds [seed, 2] and [seed, 2, 0] did."""
    drawn = []

    def recording(seed, purpose):
        drawn.append((seed, purpose))
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
    purposes = [purpose for seed, purpose in drawn if not isinstance(seed, np.random.Generator)]
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
