"""The documentation's code runs, and its tables name files that exist."""

import re
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parent.parent


def test_the_loop_of_ones_own_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "howto.md").read_text("utf-8"), re.DOTALL)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    names = {
        "images": torch.randn(300, 1, 8, 8),
        "labels": torch.arange(300) % 10,
        "network": network,
        "sampling": torch.Generator(),
        "noise": torch.Generator(),
    }
    exec(block.replace("updates=500", "updates=5"), names)
    assert set(names["gradient"]) == dict(network.named_parameters()).keys()


def test_every_file_named_in_the_guarantee_exists():
    text = (ROOT / "docs" / "guarantee.md").read_text("utf-8")
    for name in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / name).exists(), name


def test_the_readme_names_both_commands():
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make quickstart" in text
    assert "make test" in text
