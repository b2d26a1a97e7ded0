"""Which code counts as one's own, whose variables and classes are compared: by where it is, not by its name alone."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping
from trilemma.privacy.held import own_classes

SOURCE = """
import torch
from torch import nn

MEANS = {}


class Net(nn.Module):
    seen = 0

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, images):
        MEANS[images.shape] = images.detach().mean(0)
        type(self).seen += 1
        return self.linear(images.flatten(1))
"""

REFUSES = """
from trilemma.errors import PrivacyError
from trilemma.privacy import Clipping

try:
    Clipping(Net(), 1.0, "loop")(torch.rand(4, 1, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
except PrivacyError as error:
    print("refused:", "MEANS" in str(error) or "seen" in str(error))
"""


def refuse(network):
    with pytest.raises(PrivacyError, match=r"MEANS|seen"):
        Clipping(network, 1.0, "loop")(torch.rand(4, 1, 1, 8, 8), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize("named", [{}, {"torch": torch}, {"__name__": "__main__"}, {"__name__": "cell"}])
def test_code_that_is_executed_in_a_namespace(named):
    namespace = dict(named)
    exec(SOURCE, namespace)
    refuse(namespace["Net"]())


def test_a_file_with_the_name_of_one_of_python_s(tmp_path, monkeypatch):
    (tmp_path / "this.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "this", raising=False)
    import this

    monkeypatch.setitem(sys.modules, "this", this)
    assert Path(this.__file__).parent == tmp_path
    refuse(this.Net())


@pytest.mark.parametrize("runner", [[], ["-m", "cProfile", "-o", "profile"]])
def test_a_script_and_one_that_is_profiled(tmp_path, runner):
    (tmp_path / "script.py").write_text(SOURCE + REFUSES)
    ended = subprocess.run(
        [sys.executable, *runner, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "refused: True" in ended.stdout


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages"])
def test_a_package_that_is_installed_for_one_user_is_not(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir()
    name = f"package_of_a_test_in_{folder[:4]}"
    (tmp_path / folder / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path / folder)
    module = __import__(name)
    monkeypatch.setitem(sys.modules, name, module)
    assert own_classes(module.Net) == ()


def test_classes_of_python_and_of_packages_are_not():
    assert own_classes(dict) == own_classes(nn.Linear) == own_classes(ExceptionGroup) == ()
