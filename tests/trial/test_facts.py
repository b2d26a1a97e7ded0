"""Metadata of a model that no run wrote is refused in one line."""

from pathlib import Path

import pytest

from trilemma.errors import InputError
from trilemma.trial.facts import stored_facts

VALUES = {
    "recipe": "0" * 64,
    "model": "convnet-4",
    "classes": ["cat", "dog"],
    "image_shape": [3, 8, 8],
    "mean": [0.5, 0.5, 0.5],
    "deviation": [0.5, 0.5, 0.5],
    "privacy": {"epsilon": 8.0},
}


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": []},
        {"deviation": [0.5]},
        {"mean": ["x", 0, 0]},
        {"classes": [1, 2]},
        {"image_shape": 8},
        {"privacy": {"epsilon": []}},
        {"privacy": {"epsilon": "x"}},
        {"privacy": 5},
    ],
)
def test_facts_of_another_form_are_refused_in_one_line(changed):
    path = Path("model.safetensors")
    assert stored_facts(VALUES, path).privacy == {"epsilon": 8.0}
    with pytest.raises(InputError, match=r"^model\.safetensors holds something other") as refused:
        stored_facts(VALUES | changed, path)
    assert "\n" not in str(refused.value)
