"""No private training starts from weights that a run learned."""

import copy
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import trilemma as tl
from trilemma.errors import PrivacyError
from trilemma.training.execution import Execution
from trilemma.training.learned import learned_names, refuse_learned, remember_learned, stored_names
from trilemma.training.loop import Training
from trilemma.training.pretraining import HEAD
from trilemma.training.ranks import Ranks
from trilemma.trial.run import load_network
from trilemma.trial.train import follow
from trilemma.trial.weights import metadata_with_digest, read_weights

CPU = Execution("cpu", 20, "float32")
PUBLIC = tl.Recipe(model="mine", batch_size=20, epochs=1, evaluations=1)
PRIVATE = replace(PUBLIC, epsilon=8.0, delta=1e-4)


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits", limit=120, test_limit=80)


@pytest.fixture(scope="module")
def given():
    torch.manual_seed(0)
    return network()


@pytest.fixture(scope="module")
def run(data, given, tmp_path_factory):
    return tl.train(PUBLIC, data, tmp_path_factory.mktemp("runs") / "run", network=given, execution=CPU)


@pytest.fixture(scope="module")
def model(run, given):
    return tl.load_model(run.folder, network=given)


def test_what_one_training_learned_is_not_in_the_module_that_the_next_one_gets(data, given, run, model):
    """Guards: a loop over trainings with one module, each of which goes on from the one before, uncounted."""
    training = Training(PRIVATE, data, CPU, given)
    list(training.run_updates(3))
    torch.manual_seed(0)
    for name, value in network().state_dict().items():
        assert torch.equal(given.state_dict()[name], value)
        assert not torch.equal(model.network.state_dict()[name], value)
        assert not torch.equal(training.state.model.state_dict()[name], value)


HOW = {
    "as it is": lambda start, learned: learned,
    "a copy of it": lambda start, learned: copy.deepcopy(learned),
    "its weights": lambda start, learned: start.load_state_dict(learned.state_dict()),
    "one layer of it": lambda start, learned: start.__setitem__(1, learned[1]),
    "one layer of it, changed": lambda start, learned: start.__setitem__(1, times_two(learned[1])),
    "one tensor in a list": lambda start, learned: setattr(start, "kept", [learned[3].weight.detach().clone()]),
    "one array in a dict": lambda start, learned: setattr(start, "kept", {"a": learned[3].weight.detach().numpy()}),
    "an array of a foreign machine": lambda start, learned: setattr(
        start, "kept", learned[3].weight.detach().numpy().astype(">f4")
    ),
    "one layer in a list": lambda start, learned: setattr(start, "kept", [times_two(learned[3])]),
    "a buffer": lambda start, learned: start.register_buffer("kept", learned[3].weight.detach()),
    "in another form": lambda start, learned: setattr(start, "kept", learned[1].weight.detach().double().view(64, 8)),
}


def times_two(layer):
    layer = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)
    return layer


@pytest.mark.parametrize("how", HOW)
def test_what_was_loaded_from_a_run_is_refused_with_a_budget(data, given, model, tmp_path, how):
    start = copy.deepcopy(given)
    made = HOW[how](start, model.network)
    start = made if isinstance(made, nn.Module) else start
    with pytest.raises(PrivacyError, match="was learned by the run in") as refused:
        tl.train(PRIVATE, data, tmp_path / "run", network=start, execution=CPU)
    assert "_learned_by" not in str(refused.value)
    assert not (tmp_path / "run").exists()
    Training(PUBLIC, data, CPU, start)


def test_the_caller_s_own_network_is_not_marked(given, model):
    """Only the copy that got the weights learned something."""
    refuse_learned(PRIVATE, given)
    refuse_learned(PRIVATE, network())


def test_what_layers_begin_with_was_not_learned(given, run):
    """Zeros and ones are in every new network: it must not be taken for a run's."""
    started = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10))
    nn.init.zeros_(started[1].bias)
    remember_learned(started, run.folder, None)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10))
    nn.init.zeros_(fresh[1].bias)
    refuse_learned(PRIVATE, fresh)


def test_a_network_that_load_network_gives_is_refused_too(data, tmp_path):
    run = tl.train(replace(PUBLIC, model="convnet-4"), data, tmp_path / "run", execution=CPU)
    with pytest.raises(PrivacyError, match="was learned by the run in"):
        refuse_learned(PRIVATE, load_network(run, data))


class Backbone(nn.Module):
    """A frozen layer, a table, a statistic, a memory of what was seen, and a head that is trained."""

    def __init__(self, keeps=False):
        super().__init__()
        self.layer, self.head, self.keeps = nn.Linear(64, 8).requires_grad_(False), nn.Linear(8, 10), keeps
        self.register_buffer("table", torch.linspace(0, 1, 64))
        self.register_buffer("statistic", torch.zeros(64))
        self.memory = nn.Parameter(torch.zeros(64), requires_grad=False)

    def forward(self, images):
        if self.keeps:
            self.statistic.lerp_(images.flatten(1).mean(0), 0.1)
            self.memory.data.lerp_(images.flatten(1).mean(0), 0.1)
        return self.head(self.layer(images.flatten(1) + self.table).relu())


@pytest.mark.parametrize("budget", [False, True])
def test_what_a_run_did_not_train_may_begin_the_next_one(data, tmp_path, budget):
    """Guards: a refusal of a public backbone that no private image has changed; and one that some have."""
    torch.manual_seed(1)
    public = Backbone(keeps=not budget)
    run = tl.train(PRIVATE if budget else PUBLIC, data, tmp_path / "run", network=public, execution=CPU)
    changed = {"head.weight", "head.bias"} | (set() if budget else {"statistic", "memory"})
    assert stored_names(run.folder / "model.safetensors") == changed
    loaded = tl.load_model(run.folder, network=public).network
    for name, tensor in loaded.state_dict().items():
        start = network()
        start.register_buffer("kept", tensor)
        if name in changed - {"head.bias"} or (name == "head.bias" and tensor.any()):
            with pytest.raises(PrivacyError, match="buffer kept"):
                refuse_learned(PRIVATE, start)
        else:
            refuse_learned(PRIVATE, start)
    start = Backbone()
    start.layer = loaded.layer
    refuse_learned(PRIVATE, start)
    start.head = loaded.head
    with pytest.raises(PrivacyError, match="of your network was learned"):
        refuse_learned(PRIVATE, start)


def test_a_file_that_does_not_say_what_was_learned_is_refused_whole(data, tmp_path):
    """Files of earlier versions."""
    public = Backbone()
    run = tl.train(PRIVATE, data, tmp_path / "run", network=public, execution=CPU)
    file = run.folder / "model.safetensors"
    facts, weights = read_weights(file)
    del facts["learned"]
    save_file(weights, file, metadata_with_digest(facts, weights))
    assert stored_names(file) is None
    start = Backbone()
    start.layer = tl.load_model(run.folder, network=public).network.layer
    with pytest.raises(PrivacyError, match=r"parameter layer\.weight of your network was learned"):
        refuse_learned(PRIVATE, start)


class Unused(nn.Module):
    """A layer that no gradient reaches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(9)
        self.head, self.unused = nn.Linear(64, 10), nn.Linear(5, 5)

    def forward(self, images):
        return self.head(images.flatten(1))


def test_what_a_training_changed_was_learned_and_nothing_else(data):
    """Guards: a refusal of a fresh module because an unused layer of it begins as one that was loaded from a run."""
    training = Training(PUBLIC, data, CPU, Unused())
    assert learned_names(training.state.model, training.start) == []
    next(training.run_updates(1))
    assert learned_names(training.state.model, training.start) == ["head.weight", "head.bias"]


@pytest.mark.parametrize("known_by", ["mark", "numbers"])
def test_what_another_run_learned_stays_learned(data, given, model, known_by):
    """Guards: a second training that freezes it, after which a third one with a budget could begin with it."""
    start = copy.deepcopy(given)
    if known_by == "mark":
        start[1] = model.network[1].requires_grad_(False)
    else:
        start[1].weight.data = model.network[1].weight.detach().clone()
        start[1].weight.requires_grad_(False)
    training = Training(PUBLIC, data, CPU, start)
    learned = ["1.weight", "1.bias"] if known_by == "mark" else ["1.weight"]
    assert learned_names(training.state.model, training.start) == learned


@pytest.fixture
def built_from_a_run(run, given, monkeypatch):
    module = ModuleType("built_from_a_run")
    module.build = lambda *, classes, image_shape: tl.load_model(run.folder, network=given).network
    monkeypatch.setitem(sys.modules, "built_from_a_run", module)
    return replace(PRIVATE, model="built_from_a_run:build")


def test_a_network_that_is_built_from_a_run_is_refused_too(data, built_from_a_run, tmp_path):
    """Guards: a check of the modules that are given, and not of those that a function builds."""
    with pytest.raises(PrivacyError, match="was learned by the run in"):
        tl.train(built_from_a_run, data, tmp_path / "run", execution=CPU)
    assert not (tmp_path / "run").exists()


def test_it_is_refused_in_the_other_processes_of_a_training_too(data, built_from_a_run):
    with pytest.raises(PrivacyError, match="was learned by the run in"):
        follow(built_from_a_run, data, Ranks(), execution=CPU)


@pytest.mark.parametrize("head_first", [0.5, 1.0])
def test_a_pretrained_backbone_that_was_never_trained_on_images_was_not_learned(data, head_first, monkeypatch):
    """What is pre-trained on synthetic images alone is public."""
    monkeypatch.setattr("trilemma.training.loop.pretrained", lambda recipe, data, backbone, *_, **__: halved(backbone))
    recipe = replace(PRIVATE, model="convnet-4", techniques=("gn",), pretrain="synthetic", head_first=head_first)
    training = Training(recipe, data, CPU)
    list(training.run_updates(training.course.updates))
    names = learned_names(training.state.model, training.start)
    assert names
    assert all(name.startswith(HEAD) for name in names) is (head_first == 1.0)


def halved(backbone):
    return {name: value / 2 for name, value in backbone.state_dict().items() if not name.startswith(HEAD)}


def test_the_file_of_a_run_is_refused_as_initial_weights_with_a_budget(run, tmp_path):
    file = run.folder / "model.safetensors"
    recipe = replace(PRIVATE, model="timm:tiny", weights=str(file))
    with pytest.raises(PrivacyError, match="are of a run"):
        refuse_learned(recipe, None)
    refuse_learned(replace(recipe, epsilon=None, delta=None), None)
    save_file(load_file(file), tmp_path / "alone.safetensors")  # by which the user says that they are public
    refuse_learned(replace(recipe, weights=str(tmp_path / "alone.safetensors")), None)
