"""A data set that is put together by hand: what does not go together is refused in one line."""

import numpy as np
import pytest

from trilemma.data import Dataset, Split
from trilemma.errors import InputError


def split(largest=1, size=8, groups=None):
    labels = np.array([0, 1, 0, largest], np.int64)
    given = None if groups is None else np.array(groups, np.int64)
    return Split(np.zeros((4, 1, size, size), np.uint8), labels, given)


REFUSED = {
    "label too large": ({"train": split(2)}, "labels of training examples .* of 2 names, but one is 2"),
    "label of a test image": ({"test": split(-1)}, "labels of test examples .* one is -1"),
    "group too large": (
        {"train": split(groups=[0, 1, 2, 0]), "group_names": ("x", "y")},
        "groups of training examples",
    ),
    "other size": ({"test": split(size=9)}, "give both the same size"),
    "one name twice": ({"classes": ("a", "a")}, "distinct names"),
    "no text": ({"classes": (1, 2)}, "must be text"),
    "one text": ({"classes": "ab"}, "distinct names"),
    "one group twice": ({"group_names": ("x", "x")}, "distinct names"),
    "no std": ({"std": (0.0,)}, "std must be positive"),
    "no number": ({"mean": (float("nan"),)}, "mean must be finite"),
    "infinite": ({"std": (float("inf"),)}, "std must be positive"),
    "other channels": ({"mean": (0.5, 0.5)}, "one for each channel"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_go_together_is_refused_in_one_line(kind):
    changes, words = REFUSED[kind]
    values = {"train": split(), "test": split(), "classes": ("a", "b")} | changes
    with pytest.raises(InputError, match=words) as error:
        Dataset("mine", **values)
    assert "\n" not in str(error.value)


def test_a_list_of_names_is_as_good_as_a_tuple():
    assert Dataset("mine", split(), split(), classes=["a", "b"]).classes == ("a", "b")
