"""``prior-conv``: a network on fixed maps, through the same training as any network."""

import itertools

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import trilemma as tl
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.models.prior import family
from trilemma.standardization import StandardizedConv2d
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.ranks import Ranks
from trilemma.trial.progress import Stopped
from trilemma.trial.run import load_network


@pytest.fixture(autouse=True, scope="module")
def small(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trilemma.models.prior.synthetic._CHUNK", 200)  # images are drawn in whole chunks
        patch.setattr(family, "DICTIONARY_IMAGES", 200)
        patch.setattr("trilemma.models.prior.patches._STATISTICS", 2000)
        patch.setenv("TRILEMMA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def stripes(count, seed):
    """Stripes across and stripes down, on noise: two classes that patches tell apart."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    across = (np.arange(20) // 3 % 2)[None, None, :, None] * np.ones((1, 3, 1, 20))
    images = np.where(labels[:, None, None, None], across, across.transpose(0, 1, 3, 2)) * 120
    images = images + rng.normal(60, 40, (count, 3, 20, 20))
    return Split(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


@pytest.fixture(scope="module")
def data():
    return Dataset("stripes", stripes(120, 0), stripes(80, 1), ("across", "down"))


def recipe(**changes):
    values = {"batch_size": 20, "epochs": 2.0, "learning_rate": 0.1, "norm_groups": 4, "evaluations": 2, "views": 2}
    return tl.Recipe(model="prior-conv-8", **(values | changes))


SUBSETS = [(), ("gn",), ("ws",), ("am",), ("gn", "ws", "am", "pa", "sat"), ("obs", "gn", "ws", "am", "pa", "sat")]


@pytest.mark.parametrize(("techniques", "epsilon"), [*itertools.product(SUBSETS, (None, 8.0))])
def test_every_technique_is_a_switch(data, techniques, epsilon):
    training = Training(recipe(techniques=techniques, epsilon=epsilon, fewest_updates=2), data)
    model, has = training.state.model, training.recipe.has
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert len(list(training.run_updates(2))) == 2
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert torch.isfinite(training.logits("test")).all()
    kinds = {type(module) for module in model.modules()}
    assert (nn.GroupNorm in kinds) == has("gn")
    assert (nn.BatchNorm2d in kinds) == (not has("gn") and epsilon is None)
    assert (StandardizedConv2d in kinds) == has("ws")
    assert bool(training.state.average) == has("pa")
    assert bool(training.state.previous) == (has("sat") and epsilon is not None)
    assert training.method == "auto"  # of which every layer has a fast rule
    views, _ = training.examples.views_and_labels(torch.arange(5), 0)
    assert views.shape == (5, 2 if has("am") else 1, 12, 5, 5)


def test_views_are_moved_and_mirrored_maps_of_the_example_alone(data):
    inputs = Training(recipe(techniques=("am",), views=30, shift=0, batch_size=40), data).examples.inputs
    rows = torch.tensor([3, 90])
    views, plain = inputs.views(rows, 7), inputs.plain("train", rows.numpy())
    mirrored = plain.flip(3) * inputs.signs
    for example in range(2):
        kinds = {bool(torch.equal(view, mirrored[example])) for view in views[example]}
        assert all(torch.equal(v, plain[example]) or torch.equal(v, mirrored[example]) for v in views[example])
        assert kinds == {True, False}
    assert torch.equal(inputs.views(rows[1:], 7)[0], views[1])
    assert not torch.equal(inputs.views(rows, 8), views)


def test_it_resumes_to_the_bit_and_predicts_from_images(data, tmp_path):
    """A run's folder alone gives, from images, the same logits as those that were measured."""
    private = recipe(techniques=("gn", "ws", "am", "pa", "sat"), epsilon=8.0, secret_noise=False)
    whole = tl.train(private, data, out=tmp_path / "whole")
    asked = itertools.count()
    with pytest.raises(Stopped):
        tl.train(private, data, out=tmp_path / "cut", should_stop=lambda: next(asked) > 4)
    cut = tl.train(private, data, out=tmp_path / "cut")
    first, second = (load_file(run.folder / "model.safetensors") for run in (whole, cut))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert whole.result["privacy"]["truth"]["passed"]
    network = load_network(whole, data)
    training = Training(private, data)
    training.state.model.load_state_dict(network.network.state_dict())
    training.state.average = {}
    images = (torch.tensor(data.test.images).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        torch.testing.assert_close(network(images), training.logits("test"), rtol=1e-3, atol=1e-3)


def test_maps_of_private_images_do_not_change_with_the_others(data):
    changed = data.train.images.copy()
    changed[1:] = 255 - changed[1:]
    other = Dataset("stripes", Split(changed, data.train.labels), data.test, data.classes)
    ours, theirs = (Training(recipe(), d).examples.inputs.plain("train", np.arange(2)) for d in (data, other))
    assert torch.equal(ours[0], theirs[0])
    assert not torch.equal(ours[1], theirs[1])


def test_what_does_not_apply_is_refused(data):
    with pytest.raises(InputError, match="is fitted to them already"):
        Training(recipe(pretrain="synthetic"), data)
    with pytest.raises(InputError, match="at least 4"):
        Training(tl.Recipe(model="prior-conv-2"), data)
    with pytest.raises(InputError, match="for a budget"):
        Training(recipe(), data, Execution(), ranks=Ranks(0, 2))
