"""No private training starts from weights that a run learned."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import trilemma as tl
from trilemma.errors import PrivacyError
from trilemma.training.execution import Execution
from trilemma.training.learned import refuse_learned, remember_learned
from trilemma.training.loop import Training
from trilemma.trial.run import load_network

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


@pytest.mark.parametrize("how", ["as it is", "copied", "its weights", "one layer of it"])
def test_a_network_that_was_loaded_from_a_run_is_refused_with_a_budget(data, given, model, tmp_path, how):
    start = {"as it is": model.network, "copied": copy.deepcopy(model.network)}.get(how) or copy.deepcopy(given)
    if how == "its weights":
        start.load_state_dict(model.network.state_dict())
    elif how == "one layer of it":
        start[1] = model.network[1]
    with pytest.raises(PrivacyError, match="was learned by the run in"):
        tl.train(PRIVATE, data, tmp_path / "run", network=start, execution=CPU)
    assert not (tmp_path / "run").exists()
    Training(PUBLIC, data, CPU, start)


def test_what_layers_begin_with_was_not_learned(given, run):
    """Zeros and ones are in every new network: it must not be taken for a run's."""
    started = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10))
    nn.init.zeros_(started[1].bias)
    remember_learned(started, run.folder)
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.LayerNorm(10))
    nn.init.zeros_(fresh[1].bias)
    refuse_learned(PRIVATE, fresh)


def test_a_network_that_load_network_gives_is_refused_too(data, tmp_path):
    run = tl.train(replace(PUBLIC, model="convnet-4"), data, tmp_path / "run", execution=CPU)
    with pytest.raises(PrivacyError, match="was learned by the run in"):
        refuse_learned(PRIVATE, load_network(run, data))


def test_frozen_layers_were_not_learned_by_the_run(given, run):
    frozen = copy.deepcopy(given)
    frozen[1].requires_grad_(False)
    with torch.no_grad():
        frozen[1].weight.add_(1)
    stored = load_file(run.folder / "model.safetensors") | {"1.weight": frozen[1].weight.detach()}
    frozen.load_state_dict(stored)
    remember_learned(frozen, run.folder)
    start = network()
    start[1].weight = frozen[1].weight
    refuse_learned(PRIVATE, start)
    start[3] = frozen[3]
    with pytest.raises(PrivacyError, match=r"3\.weight of your network"):
        refuse_learned(PRIVATE, start)


def test_the_file_of_a_run_is_refused_as_initial_weights_with_a_budget(run, tmp_path):
    file = run.folder / "model.safetensors"
    recipe = replace(PRIVATE, model="timm:tiny", weights=str(file))
    with pytest.raises(PrivacyError, match="are of a run"):
        refuse_learned(recipe, None)
    refuse_learned(replace(recipe, epsilon=None, delta=None), None)
    save_file(load_file(file), tmp_path / "alone.safetensors")  # by which the user says that they are public
    refuse_learned(replace(recipe, weights=str(tmp_path / "alone.safetensors")), None)
