"""Initial weights from synthetic images: nothing private gets in, and the private phase clips only what it trains."""

import concurrent.futures
import functools
import math
import sys
import threading
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch

from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.outside import resolve, source_digests
from trilemma.training import pretraining
from trilemma.training.loop import Training
from trilemma.training.network import backbone_for
from trilemma.training.pretraining import HEAD, contrastive_loss, pretrained
from trilemma.training.recipe import Recipe, load_recipe

RECIPE = Recipe(
    model="convnet-8",
    techniques=("gn", "pa", "sat"),
    epsilon=8.0,
    delta=1e-3,
    norm_groups=4,
    batch_size=16,
    epochs=4,
    learning_rate=0.5,
    pretrain="synthetic",
    pretrain_updates=12,
    head_first=0.5,
    secret_noise=False,
)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(pretraining, "_IMAGES", 64)
    monkeypatch.setattr(pretraining, "_BATCH", 16)
    monkeypatch.setenv("TRILEMMA_CACHE", str(tmp_path / "cache"))


def data(seed=0, count=40):
    rng = np.random.default_rng(seed)
    splits = [
        Split(rng.integers(0, 256, (size, 3, 16, 16), dtype=np.uint8), np.arange(size) % 2) for size in (count, 10)
    ]
    return Dataset("noise", *splits, ("a", "b"))


def backbone(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if not name.startswith(HEAD)}


def same(first, other):
    return first.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in first.items())


def test_initial_weights_do_not_depend_on_the_private_images_or_on_the_seed(tmp_path, monkeypatch):
    """Guards: pre-training that sees, or is normalized by, the images that are learned from.  Bit for bit."""
    starts = []
    for index, (images, recipe) in enumerate([(data(0), RECIPE), (data(1, 30), replace(RECIPE, seed=5))]):
        monkeypatch.setenv("TRILEMMA_CACHE", str(tmp_path / str(index)))
        starts.append(Training(recipe, images))
    assert same(*(backbone(t.state.model) for t in starts))
    fresh = Training(replace(RECIPE, pretrain=""), data())
    assert not same(backbone(fresh.state.model), backbone(starts[0].state.model))
    assert torch.equal(fresh.state.model.head.weight, starts[0].state.model.head.weight)
    # Everything that it does depend on keeps its own place in the cache (that of the last start, here).
    for recipe, images in (
        (replace(RECIPE, prior_seed=1), data()),
        (RECIPE, replace(data(), std=(0.1, 0.2, 0.3))),
    ):
        other = Training(recipe, images)
        assert not same(backbone(other.state.model), backbone(starts[0].state.model))


def test_of_two_processes_one_pretrains_and_the_other_waits(tmp_path, monkeypatch):
    """Guards: two workers of a study that write one checkpoint, of which both then die."""
    images, begun, waited, step = data(), [], threading.Event(), pretraining._PreTraining.step

    def first_waits(run, *arguments):
        if not begun:
            begun.append(threading.current_thread())
            assert waited.wait(60)
        assert threading.current_thread() is begun[0]
        step(run, *arguments)

    monkeypatch.setattr(pretraining._PreTraining, "step", first_waits)

    def progress(what, done, total):
        if what.startswith("waiting for another process"):
            waited.set()

    def start(_):
        network = backbone_for(RECIPE, images)
        return pretrained(RECIPE, images, network, torch.device("cpu"), progress=progress, folder=tmp_path)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # a lock is held by an open file, not by a process
        first, other = pool.map(start, range(2))
    assert waited.is_set()
    assert same(first, other)


def test_the_cache_knows_the_code_from_outside_that_a_network_uses(tmp_path, monkeypatch):
    """Guards: a pre-trained backbone that was made by code that has been changed since."""
    (tmp_path / "my_builder.py").write_text("import my_layers\n\ndef make(**_):\n    return my_layers.build()\n")
    (tmp_path / "my_layers.py").write_text(
        "from torch import nn\nfrom my_helper import double\n\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.head = nn.Linear(4, 2)\n"
        "    def forward(self, x):\n        return self.head(double(x))\n\ndef build():\n    return Net()\n"
    )
    helper = tmp_path / "my_helper.py"
    helper.write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = Recipe(model="my_builder:make", pretrain="synthetic", pretrain_updates=12)
    network = resolve("my_builder:make", "models")()

    def key():
        with torch.random.fork_rng():
            return pretraining.cache_key(recipe, data(), network, torch.device("cpu"), None)

    keys = [key()]
    for path in (helper, tmp_path / "my_builder.py", tmp_path / "my_layers.py"):
        path.write_text(path.read_text() + "# changed\n")
        keys.append(key())
    assert len(set(keys)) == 4
    assert keys[-1] == key()
    assert {name: len(digest) for name, digest in source_digests(["my_builder"]).items()} == {
        "my_builder": 64,
        "my_helper": 64,
        "my_layers": 64,
    }
    for name in ("my_builder", "my_helper", "my_layers"):
        monkeypatch.delitem(sys.modules, name)


def test_a_module_from_standard_input_has_no_source_to_digest(monkeypatch):
    """``python - < script.py`` names its module's file ``<stdin>``, which is in no folder."""
    typed = ModuleType("typed")
    typed.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "typed", typed)
    assert source_digests(["typed"]) == {}


def test_it_is_done_once_and_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    images = data()
    network = functools.partial(backbone_for, RECIPE, images)
    steps = []

    def run(folder, stop_at=None):
        def progress(what, done, total):
            steps.append((what, done))
            if stop_at is not None and done == stop_at:
                raise KeyboardInterrupt

        return pretrained(RECIPE, images, network(), torch.device("cpu"), progress=progress, folder=folder)

    whole = run(tmp_path / "a")
    steps.clear()
    assert same(whole, run(tmp_path / "a"))
    assert steps == []
    for stop_at in (5, 9):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", stop_at)
    steps.clear()
    assert same(whole, run(tmp_path / "b"))
    assert [done for what, done in steps if done] == [10, 11, 12]


def test_pre_training_learns_on_images_it_never_saw(tmp_path):
    """Pairs are told from others better than at the start, on images that were not seen."""
    images = data()
    recipe = replace(RECIPE, pretrain_updates=200)
    network = backbone_for(recipe, images)

    def loss():
        generator = torch.Generator().manual_seed(1)
        some = pretraining.synthetic_images(40, images.image_shape, 99)
        pair = [pretraining.alter(some, generator) for _ in range(2)]
        head, network.head = network.head, torch.nn.Identity()
        with torch.no_grad():
            embedded = [network(pretraining.normalize(part, images.mean, images.std)) for part in pair]
        network.head = head
        return float(contrastive_loss(*embedded))

    before = loss()
    weights = pretrained(recipe, images, network, torch.device("cpu"), folder=tmp_path)
    network.load_state_dict(weights, strict=False)
    assert loss() < before - 0.1


def test_the_loss_is_that_of_pairs():
    first, second = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    rows = torch.nn.functional.normalize(torch.cat([first, second]), dim=1).double().numpy()
    total = 0.0
    for i in range(10):
        alike = np.exp(rows @ rows[i] / 0.2)
        total -= math.log(alike[(i + 5) % 10] / (alike.sum() - alike[i]))
    assert float(contrastive_loss(first, second)) == pytest.approx(total / 10, rel=1e-5)


def test_at_first_the_head_alone_is_clipped_noised_and_trained():
    """Guards: frozen layers that take part in the norm, or get noise."""
    training = Training(RECIPE, data())
    half = training.course.updates // 2
    assert half == 5
    start = backbone(training.state.model)
    for update in range(training.course.updates):
        head = training.state.model.head.weight.detach().clone()
        training.step()
        assert not torch.equal(head, training.state.model.head.weight)
        if update < half:
            assert same(start, backbone(training.state.model))
            assert set(training.state.previous) == {"head.weight", "head.bias"}
        else:
            assert not any(torch.equal(p, start[name]) for name, p in backbone(training.state.model).items())
            assert set(training.state.previous) == {name for name, _ in training.state.model.named_parameters()}


def test_it_resumes_across_the_phases():
    images = data()
    whole, first = Training(RECIPE, images), Training(RECIPE, images)
    list(whole.run_updates(8))
    for stop in (3, 6):
        list(first.run_updates(stop))
        second = Training(RECIPE, images)
        second.state.restore(first.state.to_checkpoint({}))
        first = second
    list(first.run_updates(8))
    assert same(dict(first.state.model.state_dict()), dict(whole.state.model.state_dict()))
    assert same(first.state.average, whole.state.average)


def test_head_rate_multiplies_the_rate_of_the_first_phase():
    moves = []
    for rate in (1.0, 7.0):
        training = Training(replace(RECIPE, head_rate=rate, techniques=("gn",)), data())
        start = training.state.model.head.weight.detach().clone()
        training.step()
        moves.append(training.state.model.head.weight.detach() - start)
    # Another recipe has noise of its own, so compare the size: 7 times, to a fifth (16 numbers, mostly noise).
    assert 2.5 < float(moves[1].norm() / moves[0].norm()) < 20


def test_what_cannot_be_pretrained_is_refused():
    with pytest.raises(InputError, match="pretrain must be synthetic"):
        replace(RECIPE, pretrain="imagenet")
    with pytest.raises(InputError, match="does not apply here"):
        Training(replace(RECIPE, model="prior-s", techniques=()), data())
    with pytest.raises(InputError, match="does not apply here"):
        Training(RECIPE, data(), network=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2)))


def test_old_fingerprints_stay():
    assert Recipe().to_dict().keys().isdisjoint({"pretrain", "pretrain_updates", "head_first", "head_rate"})
    assert "pretrain" in RECIPE.to_dict()
    assert Recipe.from_dict(RECIPE.to_dict()) == RECIPE


@pytest.mark.parametrize("name", ["wrn-16-4", "wrn-40-4"])
def test_the_large_recipes_come_to_what_they_say(name):
    model, name = name, f"cifar10-{name}-eps8"
    recipe = load_recipe(name)
    assert (recipe.model, recipe.batch_size, recipe.views, recipe.epsilon) == (model, 4096, 16, 8.0)
    assert round(recipe.epochs * 50_000 / recipe.batch_size) == 2500
    assert load_recipe(name, pretrain="synthetic").pretrain == "synthetic"
