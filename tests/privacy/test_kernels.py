"""The kernels for a GPU give what torch does, in Triton's interpreter; nothing here needs a GPU."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trilemma.privacy.gradients import kernels
from trilemma.privacy.gradients.arithmetic import exact_convolutions
from trilemma.privacy.validation import check_network

HELPER = Path(__file__).parents[1] / "helpers" / "interpreted_kernels.py"


@pytest.fixture(scope="module")
def seen():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed: there is none for this platform")
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(HELPER)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_results_agree_with_torch(seen):
    for name, error in seen["errors"].items():
        # A weight gradient of half precision is added up in float32, a normalized image is rounded to it.
        if not name.startswith("network"):
            assert error < (2e-3 if "float16" in name else 1e-5), name


def test_a_network_has_the_loops_sums(seen):
    assert seen["errors"]["network"] < 1e-4
    assert seen["errors"]["network, torch.float16"] < 2e-2


def test_a_network_takes_them_where_they_fit(seen):
    # Two uses of one group norm, forward and backward, in two networks; two convolutions in half precision alone.
    assert seen["in the network"] == {"_normalize": 4, "_normalize_backward": 4, "_weight_gradient": 2}


def test_nothing_runs_on_a_cpu_by_default():
    assert not kernels.available(torch.zeros(1))


def test_a_network_is_checked_with_exact_convolutions(monkeypatch):
    """A GPU rounds convolutions to TF32 by default, and so much that the fast method would be taken for a wrong one."""
    settings = torch.backends.cudnn.conv
    before = settings.fp32_precision
    assert before != "ieee"
    precision, linear = [], torch.nn.functional.linear

    def noted(*arguments):
        precision.append(settings.fp32_precision)
        return linear(*arguments)

    monkeypatch.setattr(torch.nn.functional, "linear", noted)
    check_network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)), (3, 2, 2))
    assert set(precision) == {"ieee"}
    assert settings.fp32_precision == before


def test_what_the_caller_has_set_is_put_back_after_an_error():
    before = torch.backends.cudnn.conv.fp32_precision
    with pytest.raises(KeyError), exact_convolutions():
        raise KeyError
    assert torch.backends.cudnn.conv.fp32_precision == before
