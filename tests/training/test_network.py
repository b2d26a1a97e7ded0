"""Which network a recipe builds, and that the names of what is kept of it see all that decides that."""

import importlib
import re
import shutil
import sys
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from trilemma.data.dataset import Split
from trilemma.errors import InputError
from trilemma.networks import NETWORKS
from trilemma.standardization import StandardizedConv2d
from trilemma.study import estimate
from trilemma.training import network as module
from trilemma.training import pretraining
from trilemma.training.network import Architecture, backbone_for, network_for
from trilemma.training.recipe import Recipe

OTHERS = {
    "model": "wrn-10-1",
    "techniques": ("gn", "ws"),
    "epsilon": 8.0,
    "norm_groups": 2,
    "norm_first": True,
    "pretrain": "synthetic",
    "prior_seed": 3,
    "pretrain_updates": 7,
    "seed": 9,
}
BASE = Recipe(model="convnet-4", techniques=("gn",), norm_groups=4)
CPU = torch.device("cpu")


NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize(("code", "layer"), [("gn", nn.GroupNorm(1, 3)), ("ws", StandardizedConv2d(3, 3, 1))])
def test_a_technique_for_which_a_network_has_no_layer_is_refused(monkeypatch, noise_images, code, layer):
    """Guards: a network whose code takes no notice of what is asked, while config and card say that it does."""
    recipe = replace(BASE, techniques=(code,))
    monkeypatch.setattr(module, "build", lambda *_, **__: NETWORK)
    with pytest.raises(InputError, match=f"{code} does not apply to convnet-4, which has no layer for it"):
        network_for(recipe, noise_images)
    monkeypatch.setattr(module, "build", lambda *_, **__: nn.Sequential(layer))
    network_for(recipe, noise_images)


def key(recipe, data, network=NETWORK):
    """The same network for every recipe, unless one is given: the recipe alone must tell them apart."""
    return pretraining.cache_key(recipe, data, network, CPU, None)


def described(network):
    """All that tells two networks apart but their weights: modules in their order, settings, shapes."""
    return repr(network), [(name, tuple(t.shape)) for name, t in network.state_dict().items()]


@pytest.mark.parametrize("name", OTHERS)
def test_another_network_has_another_key(noise_images, name):
    """The key of the pre-training cache; if it were the same, one training would start from the backbone of another."""
    other = replace(BASE, **{name: OTHERS[name]})
    if described(network_for(other, noise_images)) != described(network_for(BASE, noise_images)):
        assert key(other, noise_images) != key(BASE, noise_images)
        assert Architecture.of(other) != Architecture.of(BASE)
    ours, theirs = (backbone_for(recipe, noise_images).state_dict() for recipe in (BASE, other))
    if key(other, noise_images) == key(BASE, noise_images):
        assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def fields_read(monkeypatch, recipe, use):
    """Names of the fields of a recipe that ``use`` reads."""
    read, names = set(), {f.name for f in fields(recipe)}

    def get(self, name):
        if name in names:
            read.add(name)
        return object.__getattribute__(self, name)

    with monkeypatch.context() as patched:
        patched.setattr(type(recipe), "__getattribute__", get)
        use(recipe)
    return read


def test_the_key_reads_every_field_that_the_network_does(monkeypatch, noise_images):
    """Guards: a field that changes the architecture and is forgotten in the key."""
    network = fields_read(monkeypatch, BASE, lambda recipe: backbone_for(recipe, noise_images))
    named = fields_read(monkeypatch, BASE, lambda recipe: key(recipe, noise_images))
    assert {"model", "techniques", "epsilon", "norm_groups", "norm_first"} <= network
    # ``backbone_for`` copies the recipe, which reads all of it: what counts is what the copy is asked for.
    direct = fields_read(monkeypatch, BASE, lambda recipe: network_for(recipe, noise_images))
    assert direct - {"seed", "weights"} <= named  # these two decide initial weights, whose digest is in the key


OWN = """
from torch import nn

class Own(nn.Module):
    def __init__(self, classes, width={width}):
        super().__init__()
        self.body, self.head = nn.Linear(64, width), nn.Linear(width, classes)

    def forward(self, images):
        return self.head(self.body(images.flatten(1)).{activation}())

def build(*, classes, image_shape):
    return Own(classes)
"""


def test_the_code_of_a_network_from_outside_is_in_the_key(noise_images, tmp_path, monkeypatch):
    """Guards: the cache hands out a backbone that other code, or other initial weights, pre-trained under one name."""
    monkeypatch.chdir(tmp_path)
    split = Split(np.zeros((2, 1, 8, 8), np.uint8), np.arange(2))
    data = replace(noise_images, train=split, test=split)
    recipe, keys = Recipe(model="own_network:build"), []
    for width, activation in ((8, "tanh"), (9, "tanh"), (8, "relu"), (8, "tanh")):
        (tmp_path / "own_network.py").write_text(OWN.format(width=width, activation=activation))
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        network = backbone_for(recipe, data)
        keys.append(key(recipe, data, network))
        sys.modules.pop("own_network")
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3


def test_the_weights_that_pre_training_starts_from_are_in_the_key(noise_images):
    network, other = backbone_for(BASE, noise_images), backbone_for(BASE, noise_images)
    assert key(BASE, noise_images, network) == key(BASE, noise_images, other)
    with torch.no_grad():
        other.head.bias.add_(1.0)  # the head is not pre-trained
    assert key(BASE, noise_images, network) == key(BASE, noise_images, other)
    with torch.no_grad():
        next(p for name, p in other.named_parameters() if not name.startswith(pretraining.HEAD)).view(-1)[0] += 1e-6
    assert key(BASE, noise_images, network) != key(BASE, noise_images, other)


@dataclass(frozen=True)
class Wider(Recipe):
    """A recipe with an additional field, on which its network depends."""

    width: int = 1


class Padded(nn.Sequential):
    def __init__(self, network, width):
        super().__init__(network, nn.ZeroPad1d((0, width)))


def test_a_new_field_of_the_architecture_is_in_the_key(monkeypatch, noise_images):
    @dataclass(frozen=True)
    class WiderArchitecture(Architecture):
        width: int = 1

        @classmethod
        def of(cls, recipe):
            architecture = Architecture.of(recipe)
            return cls(**vars(architecture), width=recipe.width)

        def build(self, *arguments, **options):
            return Padded(super().build(*arguments, **options), self.width)

    first, two = (Wider(**vars(BASE), width=width) for width in (1, 2))
    for place in (module, pretraining, estimate):
        monkeypatch.setattr(place, "Architecture", WiderArchitecture)
    assert described(network_for(first, noise_images)) != described(network_for(two, noise_images))
    assert key(first, noise_images) != key(two, noise_images)


def test_a_new_field_that_is_read_beside_the_architecture_is_noticed(monkeypatch, noise_images):
    """The power of the test that compares what is read."""
    real = module.network_for
    monkeypatch.setattr(module, "network_for", lambda recipe, data: Padded(real(recipe, data), recipe.width))
    wide = Wider(**vars(BASE), width=2)
    network = fields_read(monkeypatch, wide, lambda recipe: module.network_for(recipe, noise_images))
    assert not network - {"seed"} <= fields_read(monkeypatch, wide, lambda recipe: key(recipe, noise_images))


def test_other_seeds_share_the_backbone_and_nothing_else(noise_images):
    first, second = (replace(BASE, seed=seed) for seed in (1, 2))
    assert key(first, noise_images) == key(second, noise_images)
    for build, same in ((backbone_for, True), (network_for, False)):
        a, b = (build(recipe, noise_images).state_dict() for recipe in (first, second))
        assert torch.equal(a["head.weight"], b["head.weight"]) == same


def test_an_estimate_is_measured_once_for_an_architecture():
    """The time of a view is measured once, not again for each seed, budget or learning rate of a study."""
    estimate._seconds_a_view.cache_clear()
    private = replace(BASE, epsilon=8.0, techniques=("gn", "am"), views=2)
    for recipe in (private, replace(private, epsilon=2.0, seed=4, learning_rate=9.0)):
        estimate._seconds_an_example(recipe, 3, (3, 8, 8))
    assert estimate._seconds_a_view.cache_info().misses == 1


@pytest.mark.parametrize("form", NETWORKS)
def test_every_form_of_a_name_in_the_table_is_built(form):
    """Guards: a name that `--help` promises and nothing builds."""
    name = re.sub(r"[\[\]]", "", form).replace("DEPTH", "16").replace("WIDTH", "4")
    if ":" in form:
        pytest.skip("comes from outside")
    built = Architecture.of(Recipe(model=name)).build(10, (3, 32, 32), torch.Generator())
    assert any(p.requires_grad for p in built.parameters())
