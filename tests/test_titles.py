"""Titles: trials that differ in anything but their seed never share one, and every word of a title is true."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.techniques import TECHNIQUES
from trilemma.titles import TECHNIQUE_OF, settings_of, told_apart, trial_titles, wording
from trilemma.training.recipe import Recipe

NAMES = st.builds(
    lambda start, middle, end: start + middle + end,
    st.sampled_from(["", "timm:" + "a" * 30, "/data/" + "b" * 40]),
    st.text("xy\x1b\u202e\u00e9", max_size=3),
    st.sampled_from(["", "c" * 50]),
)
TRIALS = st.builds(
    lambda model, provenance, rate, epsilon, codes, data: {
        "recipe": {
            **{"model": model, "provenance": provenance, "learning_rate": rate, "epsilon": epsilon, "seed": 0},
            "techniques": codes,
        },
        "data": data,
    },
    NAMES,
    NAMES,
    st.sampled_from([0.1, 0.25]),
    st.sampled_from([None, 8.0, 8.0000001]),
    st.sampled_from([[], ["gn"]]),
    st.fixed_dictionaries({"name": NAMES}, optional={"skew": st.sampled_from([0.9512, 0.95121]), "seed": st.just(1)}),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TRIALS, min_size=2, max_size=6))
def test_different_trials_have_different_titles(trials):
    """Guards: names that differ where a title shortens them, characters that it cannot show, numbers that it rounds."""
    named = {str(place): trial for place, trial in enumerate(trials)}
    titles = trial_titles(named, seed=False)
    for a, first in named.items():
        for b, second in named.items():
            assert (titles[a] == titles[b]) == (settings_of(first) == settings_of(second))


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES.filter(bool), min_size=2, max_size=5, unique=True))
def test_long_values_are_shortened_but_never_alike(values):
    shown = {value: value for value in values if value.isprintable()}
    words = wording([{"model": value} for value in shown])
    assert len({words("model", value) for value in shown}) == len(shown)
    assert all(words("model", value) == f"model {value}" for value in shown if len(value) <= 24)


def test_budgets_that_differ_in_more_than_the_learning_rate_say_so():
    def planned(**changes):
        trials = {"a": {"epsilon": 1.0, "epochs": 20} | changes, "b": {"epsilon": 8.0, "epochs": 20}}
        return told_apart({name: {"recipe": recipe, "data": {"name": "digits"}} for name, recipe in trials.items()})

    assert planned(learning_rate=0.3) == {"a": {}, "b": {}}
    assert planned(epochs=2) == {"a": {"epochs": "epochs 2"}, "b": {"epochs": "epochs 20"}}


def test_every_setting_of_a_technique_is_a_field_of_a_recipe():
    """What has an effect under one technique alone is said where the technique is, and nowhere again."""
    by_technique = {name: technique.code for technique in TECHNIQUES.values() for name in technique.settings}
    assert set(by_technique) <= set(Recipe.__dataclass_fields__)
    assert by_technique | {"data shift": "am", "data flips": "am"} == TECHNIQUE_OF
