from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.data.labels import code
from trilemma.errors import InputError


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_sparse_numbers_are_numbered_by_size(values: list[int]) -> None:
    (codes,), names = code([values])
    assert [int(names[position]) for position in codes] == values
    assert [int(name) for name in names] == sorted(set(values))
    (as_text,), text_names = code([[str(value) for value in values]])
    assert (as_text == codes).all()
    assert text_names == names


@given(st.lists(st.text(min_size=1).map(lambda word: f"w{word.strip()}"), min_size=1))
def test_words_keep_their_names(words: list[str]) -> None:
    (codes,), names = code([words])
    assert [names[position] for position in codes] == [word.strip() for word in words]


def test_kinds_of_values() -> None:
    assert code([[True, False]])[1] == ("False", "True")
    assert code([[np.int8(3), np.uint64(1)]])[1] == ("1", "3")
    assert code([[2.0, 0.0]])[1] == ("0", "2")
    assert code([[b"cat", np.str_("dog")]])[1] == ("cat", "dog")
    assert code([["10", "9"]])[1] == ("9", "10")


def test_known_names() -> None:
    codes, names = code([[2, 0]], names=("a", "b", "c"))
    assert codes[0].tolist() == [2, 0]
    assert names == ("a", "b", "c")
    assert code([["c", "a"]], names=("a", "b", "c"))[0][0].tolist() == [2, 0]
    # digits may be names themselves
    assert code([["7", "5"]], names=("5", "6", "7"))[0][0].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        ([0, -1], None, "negative label -1"),
        ([0, 3], ("a", "b"), "label 3, out of range for 2 names: labels go from 0 to 1"),
        (["a", "bb"], ("a", "b"), "'bb', which is not one of: a and b"),
        (["a", 1], None, "mixes numbers and words"),
        ([1, None], None, "no label in row 1"),
        ([1, float("nan")], None, "no label in row 1"),
        (["a", " "], None, "no label in row 1"),
        ([0.5, 1], None, "0.5 in row 0"),
        ([[1], [2]], None, "row 0"),
        ([float("inf")], None, "inf in row 0"),
    ],
)
def test_bad_labels(values: list[object], names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        code([values], names=names)
    assert "\n" not in str(caught.value)
