"""The registry of techniques, and what a seventh one leaves as it was."""

import importlib
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_up_study import ALL, Study
from trilemma.analysis.claims import HEADLINE, claims
from trilemma.analysis.conditions import measured
from trilemma.analysis.pairs import technique_pairs
from trilemma.errors import InputError
from trilemma.networks import techniques_for
from trilemma.report import glossary
from trilemma.report.figures.axes import techniques_axes
from trilemma.study.file import STUDIES, load_study
from trilemma.study.trials import expand, techniques_axis
from trilemma.techniques import PAPER_TECHNIQUES, TECHNIQUES, Technique, parse_techniques
from trilemma.training.execution import Execution
from trilemma.training.network import Architecture
from trilemma.training.recipe import Recipe
from trilemma.training.refusals import refuse_what_does_not_apply
from trilemma.words import mix

MIXUP = Technique("mixup", "DP-MixUp", "mixes pairs of views of one example", "made up for this test", "views")


@pytest.fixture
def seventh(monkeypatch):
    monkeypatch.setitem(TECHNIQUES, "mixup", MIXUP)


def test_every_technique_says_what_it_is():
    assert set(PAPER_TECHNIQUES) <= set(TECHNIQUES)
    for code, technique in TECHNIQUES.items():
        assert code == technique.code == code.lower()
        assert technique.name
        assert technique.meaning
        assert technique.source
    assert len({technique.name for technique in TECHNIQUES.values()}) == len(TECHNIQUES)


@given(st.lists(st.sampled_from(PAPER_TECHNIQUES)), st.sampled_from([",", " ", ", "]))
def test_techniques_are_read_in_any_order_and_case(codes, between):
    parsed = parse_techniques(between.join(code.upper() for code in codes))
    assert parsed == tuple(code for code in PAPER_TECHNIQUES if code in codes)
    assert parse_techniques(parsed) == parsed


def test_an_unknown_code_is_refused():
    with pytest.raises(InputError, match=r"unknown technique 'satt' \(did you mean 'sat'\?\)"):
        parse_techniques("satt")


@pytest.fixture
def glossary_with_a_seventh(seventh):
    yield importlib.reload(glossary).GLOSSARY
    TECHNIQUES.pop("mixup")
    importlib.reload(glossary)


def test_a_seventh_technique_has_a_term_and_is_none_of_the_papers(glossary_with_a_seventh):
    term = glossary_with_a_seventh["mixup"]
    assert term.meaning == "Mixes pairs of views of one example (made up for this test). It changes the views."
    assert glossary_with_a_seventh["all"].meaning.endswith(": OBS, GN, WS, AM, PA, SAT.")


@pytest.mark.usefixtures("seventh")
def test_a_seventh_technique_can_be_used():
    assert Recipe(techniques="sat,mixup,obs").techniques == ("obs", "sat", "mixup")
    assert Recipe.from_dict(Recipe(techniques=("mixup",)).to_dict()).has("mixup")
    assert mix(("obs", "mixup")) == "OBS+MIXUP"
    assert mix((*PAPER_TECHNIQUES, "mixup")) == "OBS+GN+WS+AM+PA+SAT+MIXUP"
    (axis,) = techniques_axes([(), ("mixup",)])
    assert axis.labels == ("BL", "+MIXUP")


def test_a_seventh_technique_changes_no_study_of_the_paper(monkeypatch):
    before = {name: [[trial.id for trial in expand(file).trials] for file in load_study(name)] for name in STUDIES}
    axes = {word: techniques_axis(word) for word in ("all", "none", "cumulative", "each", "leave-one-out")}
    monkeypatch.setitem(TECHNIQUES, "mixup", MIXUP)
    assert {word: techniques_axis(word) for word in axes} == axes
    assert parse_techniques("all") == PAPER_TECHNIQUES
    after = {name: [[trial.id for trial in expand(file).trials] for file in load_study(name)] for name in STUDIES}
    assert after == before
    assert all(ids for files in before.values() for ids in files)


@pytest.mark.usefixtures("seventh")
def test_the_headline_stays_about_the_papers_six():
    """Guards: a claim about "all techniques" that is judged by a training with other techniques than the paper's."""
    values = [HEADLINE + 0.020, HEADLINE + 0.022, HEADLINE + 0.021]

    def headline(techniques):
        study = Study("techniques", seeds=range(3))
        study.add({"accuracy": values}, examples=50_000, techniques=techniques, epsilon=8.0, model="wrn-16-4")
        frame = study.frame()
        plan = {"studies": {"techniques": {"scale": "paper", "trials": list(frame["trial"])}}, "trials": {}}
        return next(claim for claim in claims(frame, plan) if claim.name == "headline-accuracy").verdict

    assert headline(ALL) == "confirmed"
    assert headline(f"{ALL}+mixup") == "not measured"


@pytest.mark.usefixtures("seventh")
def test_a_mix_with_the_seventh_is_not_all_but_one():
    study, cells = Study("techniques", seeds=range(3)), {}
    but_obs = "+".join(PAPER_TECHNIQUES[1:])
    four_and_seventh = "+".join([*PAPER_TECHNIQUES[:4], "mixup"])
    for index, techniques in enumerate(("bl", ALL, but_obs, four_and_seventh)):
        cells[techniques] = study.add({"accuracy": 0.5 + 0.01 * index}, techniques=techniques, epsilon=math.inf)
    pairs, _ = technique_pairs(measured(study.frame(), "accuracy"))
    asked = {pair.condition: (pair.question, pair.against) for pair in pairs}
    assert asked[cells[but_obs]] == ("without", cells[ALL])
    assert asked[cells[four_and_seventh]] == ("mix", cells["bl"])
    assert asked[cells[ALL]] == ("all", cells["bl"])


@pytest.mark.parametrize("model", ["prior-s", "prior-l", "timm:resnet10t", "mine:network"])
def test_what_claims_hold_to_be_inapplicable_is_refused(model):
    """Guards: "all techniques that apply" without one that does."""
    lacking = [code for code in PAPER_TECHNIQUES if code not in techniques_for(model)]
    assert lacking

    def asked(recipe):
        refuse_what_does_not_apply(recipe, Execution(), None, None, SimpleNamespace(size=1), None)
        Architecture.of(recipe)

    for code in lacking:
        recipe = Recipe(model=model, techniques=(code,), epsilon=8.0)
        with pytest.raises(InputError, match=f"{code} does not apply"):
            asked(recipe)


def test_all_may_stand_beside_other_techniques():
    assert parse_techniques("all,mine:Own") == (*PAPER_TECHNIQUES, "mine:Own")
    assert parse_techniques("gn,all") == PAPER_TECHNIQUES
    with pytest.raises(InputError, match="unknown technique 'no-such'"):
        parse_techniques("all,no-such")
