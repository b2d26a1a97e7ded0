"""Predictions hold what an attack needs in one form, and say in one line what is wrong with anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trilemma.attacks import Predictions
from trilemma.errors import InputError

ROWS, CLASSES = 40, 3


def valid(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    fields = {
        "logits": rng.normal(size=(ROWS, CLASSES)),
        "labels": rng.integers(0, CLASSES, ROWS),
        "member": np.arange(ROWS) < ROWS // 2,
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def probs(rows: int = ROWS) -> np.ndarray:
    return np.full((rows, CLASSES), 1 / CLASSES)


def changed(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    copy = np.array(array)
    copy[index] = value
    return copy


BAD = {
    "neither": ({"logits": None}, "exactly one of logits and probs"),
    "both": ({"probs": probs()}, "exactly one of logits and probs"),
    "short labels": ({"labels": np.zeros(ROWS - 1, int)}, r"labels must be \(40,\)"),
    "short member": ({"member": np.arange(ROWS + 1) < 20}, r"member must be \(40,\)"),
    "short groups": ({"groups": np.zeros(3, int)}, r"groups must be \(40,\)"),
    "short sources": ({"sources": np.zeros(3, int)}, r"sources must be \(40,\)"),
    "short weights": ({"weights": np.ones(3)}, r"weights must be \(40,\)"),
    "NaN logit": (
        {"logits": changed(np.zeros((ROWS, CLASSES)), (7, 2), np.nan)},
        r"NaN or infinite .*\[7, 2\]",
    ),
    "infinite logit": ({"logits": changed(np.zeros((ROWS, CLASSES)), (1, 0), np.inf)}, "NaN or infinite"),
    "text logits": ({"logits": np.full((ROWS, CLASSES), "x")}, "floating-point"),
    "one column": ({"logits": np.zeros((ROWS, 1)), "labels": np.zeros(ROWS, int)}, "at least two classes"),
    "flat logits": ({"logits": np.zeros(ROWS)}, "at least two classes"),
    "ragged": ({"logits": [[1.0, 2.0], [1.0]] * 20}, "logits"),
    "sums": ({"logits": None, "probs": changed(probs(), 5, 0.5)}, "do not sum to 1 .*row 5 sums to 1.5"),
    "negative": ({"logits": None, "probs": changed(probs(), 5, [-0.5, 0.5, 1.0])}, "negative values .*row 5"),
    "NaN probs": ({"logits": None, "probs": changed(probs(), 5, np.nan)}, "NaN"),
    "high label": ({"labels": np.full(ROWS, CLASSES)}, "0 to 2 for 3 classes, but row 0 has 3"),
    "low label": ({"labels": np.full(ROWS, -1)}, "row 0 has -1"),
    "half label": ({"labels": np.full(ROWS, 0.5)}, "whole numbers"),
    "text label": ({"labels": np.full(ROWS, "cat")}, "whole numbers"),
    "object labels": ({"labels": np.full(ROWS, None)}, "Python objects"),
    "all members": ({"member": np.ones(ROWS, bool)}, "member is True for every row"),
    "no members": ({"member": np.zeros(ROWS, int)}, "member is False for every row"),
    "member of 2": ({"member": np.arange(ROWS) % 3}, "member must be True or False"),
    "text member": ({"member": np.full(ROWS, "yes")}, "member must be True or False"),
    "few members": ({"member": np.arange(ROWS) < 9}, "only 9 members"),
    "few non-members": ({"member": np.arange(ROWS) < 31}, "only 9 non-members"),
    "few that count": ({"weights": np.r_[np.ones(29), np.zeros(11)]}, "only 9 non-members"),
    "negative weight": ({"weights": np.full(ROWS, -1.0)}, "weights must not be negative"),
    "NaN weight": ({"weights": np.full(ROWS, np.nan)}, "weights holds 40 values that are NaN"),
    "negative group": ({"groups": np.full(ROWS, -1)}, "groups must not be negative"),
    "unnamed group": ({"groups": np.full(ROWS, 2), "group_names": ("a", "b")}, "group_names names 2"),
    "names alone": ({"group_names": ("a", "b")}, "group_names without groups"),
    "two groups of one name": (
        {"groups": np.arange(ROWS) % 2, "group_names": ("a", "a")},
        "group_names holds 'a' twice",
    ),
    "two classes of one name": ({"class_names": ("a", "b", "a")}, "class_names holds 'a' twice"),
    "names in one text": ({"class_names": "abc"}, "class_names is an object of type str"),
    "names that are none": ({"class_names": 3}, "class_names is an object of type int"),
    "no names": ({"groups": np.arange(ROWS) % 2, "group_names": (0.5, 1.5)}, "group_names holds something other than"),
    "few class names": ({"class_names": ("a", "b")}, "class_names names 2 classes of 3"),
    "large weight": ({"weights": np.full(ROWS, 1e300)}, "weights must be 0, or from 1e-100 to 1e.100"),
    "small weight": ({"weights": np.full(ROWS, 1e-300)}, "weights must be 0, or from 1e-100 to 1e.100"),
    "large sources": ({"sources": np.full(ROWS, 1e300)}, "sources must be whole numbers"),
    "larger sources": ({"sources": np.full(ROWS, 2**64 - 1, np.uint64)}, "sources must be below"),
    "masked": ({"labels": np.ma.masked_array(np.zeros(ROWS, int), np.arange(ROWS) == 3)}, "labels has masked values"),
    "reference rows": ({"reference_logits": np.zeros((2, ROWS - 1, CLASSES))}, "reference_logits must be"),
    "reference classes": ({"reference_logits": np.zeros((ROWS, CLASSES + 1))}, "reference_logits must be"),
    "reference NaN": ({"reference_logits": np.full((ROWS, CLASSES), np.nan)}, "reference_logits holds"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        Predictions(**valid(**changes))
    assert "\n" not in str(caught.value)


def test_lists_and_tensors_are_held_as_arrays() -> None:
    fields = valid(groups=["gray", "colour"] * 20, sources=np.arange(ROWS, dtype=np.int32))
    tensors = {
        "logits": torch.tensor(fields["logits"]),
        "labels": torch.tensor(fields["labels"]),
        "member": fields["member"].astype(float).tolist(),
    }
    held = Predictions(**{**fields, **tensors})
    assert held.labels.dtype == np.int64
    assert held.member.dtype == bool
    assert held.group_names == ("colour", "gray")
    assert held.groups is not None
    assert held.groups.tolist() == [1, 0] * 20
    assert held.name_of_group(1) == "gray"
    assert (held.members, held.nonmembers, held.classes, len(held)) == (20, 20, 3, 40)


def test_one_reference_model_gets_an_axis_of_its_own() -> None:
    held = Predictions(**valid(reference_logits=np.zeros((ROWS, CLASSES))))
    assert held.reference_logits is not None
    assert held.reference_logits.shape == (1, ROWS, CLASSES)


def test_probabilities_may_be_off_by_half_precision() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(100), size=ROWS).astype(np.float16)
    Predictions(probs=rows, labels=np.zeros(ROWS, int), member=np.arange(ROWS) % 2)


@pytest.mark.parametrize("group", ["group", "groups"])
def test_load_reads_what_was_saved(tmp_path: Path, group: str) -> None:
    saved = valid(reference_logits=np.ones((2, ROWS, CLASSES), dtype=np.float32))
    saved[group] = np.arange(ROWS) % 2
    np.savez_compressed(tmp_path / "p.npz", **saved, something_else=np.zeros(3))
    held = Predictions.load(tmp_path / "p.npz")
    for name in ("logits", "labels", "member", "reference_logits"):
        np.testing.assert_array_equal(getattr(held, name), saved[name])
    np.testing.assert_array_equal(held.groups, saved[group])


def test_load_prefers_logits(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **valid(), probs=probs())
    held = Predictions.load(tmp_path / "p.npz")
    assert held.logits is not None
    assert held.probs is None


@pytest.mark.parametrize("missing", ["logits", "labels", "member"])
def test_a_missing_array_is_named_with_what_is_there(tmp_path: Path, missing: str) -> None:
    saved = valid()
    saved["mistyped"] = saved.pop(missing)
    np.savez(tmp_path / "p.npz", **saved)
    with pytest.raises(InputError, match=f"lacks {missing}.*mistyped"):
        Predictions.load(tmp_path / "p.npz")


def test_two_spellings_of_groups_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", **valid(), group=np.zeros(ROWS, int), groups=np.zeros(ROWS, int))
    with pytest.raises(InputError, match="both group and groups"):
        Predictions.load(tmp_path / "p.npz")
