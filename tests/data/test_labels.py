"""Labels: numbers, words and recorded names become codes and class names."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma.data.labels import by_name, check_names, code
from trilemma.errors import InputError


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_sparse_numbers_are_numbered_by_size(values: list[int]) -> None:
    coded = code([values])
    assert [int(coded.names[position]) for position in coded.codes[0]] == values
    assert [int(name) for name in coded.names] == sorted(set(values))
    as_text = code([[str(value) for value in values]])
    assert (as_text.codes[0] == coded.codes[0]).all()
    assert as_text.names == coded.names


words = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@given(st.lists(words.map(lambda word: f"w{word}"), min_size=1))
def test_words_keep_their_names(values: list[str]) -> None:
    coded = code([values])
    assert [coded.names[position] for position in coded.codes[0]] == [unicodedata.normalize("NFC", v) for v in values]


numerals = st.from_regex(r"0{0,2}[1-9][0-9]{0,3}|0{1,3}", fullmatch=True)


@given(st.lists(numerals, min_size=2, unique=True))
def test_numbers_in_text_keep_their_zeros(values: list[str]) -> None:
    coded = code([values])
    assert [coded.names[position] for position in coded.codes[0]] == values
    assert [int(name) for name in coded.names] == sorted(map(int, values))
    near = len({int(value) for value in values}) < len(values)
    assert any("leading zeros" in note for note in coded.notes) == near


def test_one_name_in_two_unicode_forms_is_one_class() -> None:
    composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    coded = code([[composed, "tea"], [decomposed, "tea", decomposed]])
    assert coded.names == (composed, "tea")
    assert coded.codes[1].tolist() == [0, 1, 0]
    assert coded.notes == (
        f"the data: 2 labels were brought to Unicode's form NFC ({composed}), so that a name is one",
    )
    assert code([[decomposed]], names=(composed, "tea")).codes[0].tolist() == [0]


def test_names_that_are_easily_mistyped_stay_apart_and_are_told() -> None:
    coded = code([["cat", "cat ", "Cat", "dog"]])
    assert sorted(coded.names) == ["Cat", "cat", "cat ", "dog"]
    assert coded.notes == (
        "the data: the labels 'Cat', 'cat' and 'cat ' differ only in blanks, case or leading zeros, and are taken as 3 "
        "different ones",
    )
    assert code([["\u0663", "3"]]).names == ("3", "\u0663")


def test_recorded_names_are_found_by_number() -> None:
    assert by_name([1, 0.0, None, "x", True], ["cat", "dog"], "label", "f") == ["dog", "cat", None, "x", "dog"]
    for value in (2, -1):
        with pytest.raises(InputError, match=f"f has the label {value}, out of range for 2 names, in row 1"):
            by_name([0, value], ["cat", "dog"], "label", "f")
    assert check_names([b"cat", "dog", 3], "label", "f") == ("cat", "dog", "3")
    for names, message in (
        (["cat", "cat"], "label name 'cat' more than once"),
        (["caf\u00e9", "cafe\u0301"], "more than once"),
        (["cat", " "], "blank name for the label 1"),
        ([b"\xff"], "which is not UTF-8"),
        (["\ud800"], "not Unicode text"),
    ):
        with pytest.raises(InputError, match=message):
            check_names(names, "label", "f")


def test_values_of_every_kind_are_named_as_text() -> None:
    assert code([[True, False]]).names == ("False", "True")
    assert code([[np.int8(3), np.uint64(1)]]).names == ("1", "3")
    assert code([[2.0, 0.0]]).names == ("0", "2")
    assert code([[b"cat", np.str_("dog")]]).names == ("cat", "dog")
    assert code([["10", "9"]]).names == ("9", "10")


def test_known_names_give_the_order_of_the_codes() -> None:
    coded = code([[2, 0]], names=("a", "b", "c"))
    assert coded.codes[0].tolist() == [2, 0]
    assert coded.names == ("a", "b", "c")
    assert code([["c", "a"]], names=("a", "b", "c")).codes[0].tolist() == [2, 0]
    # digits may be names themselves
    assert code([["7", "5"]], names=("5", "6", "7")).codes[0].tolist() == [2, 0]


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
        (["-1", "2"], None, "negative label -1"),
        (["a", b"\xff"], None, "row 1 the label b'.xff', which is not UTF-8"),
        (["a", "\ud800"], None, "not Unicode text"),
        ([0, 2**70], None, "at most 64 bits"),
        (["a", "007"], ("a", "b"), "'007', which is not one of"),
    ],
)
def test_bad_labels_are_refused(values: list[object], names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        code([values], names=names)
    assert "\n" not in str(caught.value)
