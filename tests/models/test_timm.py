"""Networks of timm: wiring and refusals with a stand-in for the package, and timm itself where it is installed."""

import re
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import trilemma as tl
from trilemma.errors import InputError, PrivacyError
from trilemma.models import build
from trilemma.training.network import network_for

TIMM = """
import torch
from torch import nn


class BatchNormAct2d(nn.BatchNorm2d):
    def __init__(self, channels):
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), nn.ReLU()

    def forward(self, x):
        return self.act(self.drop(super().forward(x)))


class Tiny(nn.Module):
    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.stem = nn.Conv2d(in_chans, 6, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), BatchNormAct2d(6)])
        self.fc = nn.Linear(6, num_classes)

    def get_classifier(self):
        return self.fc

    def forward(self, x):
        x = self.stem(x)
        for norm in self.norms:
            x = norm(x)
        return self.fc(x.mean((2, 3)))


def is_model(name):
    return name == "tiny"


def list_models():
    return ["tiny"]


def create_model(name, pretrained=False, num_classes=1000, in_chans=3):
    network = Tiny(num_classes, in_chans)
    if pretrained:
        nn.init.constant_(network.stem.weight, 0.25)
    if name.startswith("hf-hub:"):
        raise OSError("no network here")
    return network
"""


@pytest.fixture
def timm(tmp_path, monkeypatch):
    (tmp_path / "timm.py").write_text(TIMM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    yield tmp_path
    sys.modules.pop("timm", None)


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits", limit=60, test_limit=60)


def of(data, **values):
    return network_for(tl.Recipe(**({"model": "timm:tiny", "norm_groups": 4} | values)), data)


def test_initial_weights_follow_from_the_seed(timm, data):
    before = torch.random.get_rng_state()
    first, again, other = (of(data, seed=seed).stem.weight for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_group_norm_is_refused_where_there_is_no_batch_norm_to_replace(timm, data):
    """Guards: gn in the title of a trial whose network it did not change."""
    bare = TIMM.replace("nn.ModuleList([nn.BatchNorm2d(6), BatchNormAct2d(6)])", "nn.ModuleList([nn.LayerNorm(8)])")
    (timm / "timm.py").write_text(bare)
    with pytest.raises(InputError, match="gn does not apply to timm:tiny, which has no batch norm to replace"):
        of(data, techniques="gn")
    assert of(data).norms


def test_group_norm_takes_the_place_of_batch_norm_and_keeps_what_hangs_on_it(timm, data):
    network = of(data, techniques="gn")
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    plain, (norm, *rest) = network.norms
    assert isinstance(plain, nn.GroupNorm)
    assert norm.num_groups == 3  # the largest up to four that divides six channels
    assert [type(part) for part in rest] == [nn.Identity, nn.ReLU]
    assert any(isinstance(part, nn.BatchNorm2d) for part in of(data).modules())


def test_weights_and_the_layers_that_are_trained(timm, data):
    assert torch.all(of(data, weights="hub").stem.weight == 0.25)
    stored = {name: torch.full_like(v, 0.5) for name, v in of(data).state_dict().items()}
    stored["fc.weight"], stored["fc.bias"] = torch.zeros(7, 6), torch.zeros(7)  # for other classes
    save_file(stored, timm / "weights.safetensors")
    network = of(data, weights=str(timm / "weights.safetensors"), trained="last", techniques="gn")
    assert torch.all(network.stem.weight == 0.5)
    assert network.fc.weight.std() > 0
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {"fc.weight", "fc.bias"}
    kept = {name: torch.full_like(v, 0.25) for name, v in of(data, techniques="gn").state_dict().items()}
    save_file(kept, timm / "replaced.safetensors")  # of a network that was trained with group norm
    again = of(data, weights=str(timm / "replaced.safetensors"), techniques="gn")
    assert all(torch.equal(value, kept[name]) for name, value in again.state_dict().items())
    save_file({"stem.weight": torch.zeros(1)}, timm / "other.safetensors")
    with pytest.raises(InputError, match="the weights of another network"):
        of(data, weights=str(timm / "other.safetensors"))
    with pytest.raises(InputError, match="cannot read the weights"):
        of(data, weights="nowhere.safetensors")


def test_a_private_run_of_one_and_its_model(timm, data, tmp_path):
    values = {"model": "timm:tiny", "epsilon": 8.0, "batch_size": 20, "epochs": 0.4, "evaluations": 1}
    with pytest.raises(PrivacyError, match="BatchNorm2d"):
        tl.train(tl.Recipe(**values), data, tmp_path / "bn", execution=tl.Execution("cpu", 20, "float32"))
    recipe = tl.Recipe(**values, techniques="gn", trained="last")
    run = tl.train(recipe, data, tmp_path / "run", execution=tl.Execution("cpu", 20, "float32"))
    model = tl.load_model(run.folder)  # of an installed package: nothing of a stranger's is imported
    start = network_for(recipe, data).state_dict()
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, start[name]) == (not name.startswith("fc")), name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": "timm:tinny"}, "did you mean 'tiny'"),
        ({"model": "timm:hf-hub:somebody/tiny"}, "cannot be used here .OSError: no network here"),
        ({"techniques": "ws"}, "ws does not apply"),
        ({"model": "convnet", "weights": "hub"}, "are for networks of timm, not for convnet"),
        ({"trained": "first"}, "trained must be all or last"),
        ({"trained": "last", "pretrain": "synthetic"}, "freezes all but one: leave one out"),
    ],
)
def test_what_cannot_be_used_is_one_line(timm, data, values, words):
    with pytest.raises(InputError, match=words) as error:
        of(data, **values)
    assert "\n" not in str(error.value)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'trilemma\[timm\]'"):
        build("timm:tiny", classes=2, image_shape=(3, 8, 8), generator=torch.Generator())


def test_a_torchvision_of_another_torch_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(InputError, match="install the torchvision that belongs to this torch"):
        build("timm:tiny", classes=2, image_shape=(3, 8, 8), generator=torch.Generator())


def test_a_private_run_of_the_package_s_own_network(tmp_path):
    """With timm itself, whose layers are not the stand-in's."""
    pytest.importorskip(
        "timm", reason="needs timm and torchvision, of which there is no build here", exc_type=ImportError
    )
    data = tl.load_data("digits-s", limit=60, test_limit=60)
    values = {"model": "timm:test_resnet", "epsilon": 8.0, "batch_size": 20, "epochs": 0.4, "evaluations": 1}
    with pytest.raises(PrivacyError, match="BatchNorm2d"):
        tl.train(tl.Recipe(**values), data, tmp_path / "bn", execution=tl.Execution("cpu", 20, "float32"))
    run = tl.train(tl.Recipe(**values, techniques="gn"), data, tmp_path / "run")
    model = tl.load_model(run.folder)
    logits = model.logits(data.test.images)
    assert logits.shape == (len(data.test), 10)
    assert run.result["privacy"]["truth"]["passed"]


def test_nothing_else_imports_it():
    source = Path(tl.__file__).parent
    importing = [path for path in source.rglob("*.py") if re.search(r"^ *(import|from) timm\b", path.read_text(), re.M)]
    assert importing == [source / "models" / "timm.py"]
