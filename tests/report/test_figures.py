"""Which numbers the figures draw: a stored table, every figure, and what cannot be drawn."""

import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from trilemma.analysis.conditions import of_study
from trilemma.errors import InputError
from trilemma.report import FIGURES, check_figures, draw_numbers
from trilemma.report.drawing import save_figure
from trilemma.report.figures.axes import techniques_axes
from trilemma.report.figures.catalog import check_names, figure_of, planned_measures
from trilemma.report.numbers import Numbers, setting_titles
from trilemma.report.study_roc import save_panels

HERE = Path(__file__).parent
ORDER = ("obs", "gn", "ws", "am", "pa", "sat")


@pytest.fixture(scope="module")
def tiny():
    results = pd.read_csv(HERE / "tiny_results.csv", keep_default_na=False, na_values=["", "nan"])
    text = results.select_dtypes(exclude="number").columns
    results[text] = results[text].fillna("")
    return results, json.loads((HERE / "tiny_study.json").read_text("utf-8"))


def numbers_of(made, study, figure, **more):
    return draw_numbers(figure, of_study(made.results, study), made.study, **more)


@pytest.mark.parametrize("name", ["accuracy", "bias", "leakage", "score", "tradeoff"])
def test_the_stored_table_gives_the_stored_numbers(tiny, name):
    shown = draw_numbers(name, *tiny).frame()
    expected = pd.read_csv(HERE / f"tiny_{name}.csv", keep_default_na=False, na_values=["nan"])
    written = shown.to_csv(index=False, na_rep="nan", float_format="%.6f")
    read = pd.read_csv(io.StringIO(written), keep_default_na=False, na_values=["nan"])
    pd.testing.assert_frame_equal(read, expected, check_dtype=False, atol=1e-6)


def test_the_stored_numbers_are_means_with_students_interval(tiny):
    """Computed by hand: 0.55, 0.6, 0.65 have mean 0.6 and sd 0.05; t(2) = 4.30265, so 0.6 +- 0.12421."""
    frame = draw_numbers("accuracy", *tiny).frame().set_index(["series", "at"])
    row = frame.loc[("no budget", "BL")]
    assert row["value"] == pytest.approx(0.6)
    assert (row["low"], row["high"]) == pytest.approx((0.6 - 0.12421, 0.6 + 0.12421), abs=1e-5)
    assert (row["seeds"], row["interval_over"], row["trials"]) == (3, "seeds", "bl-inf-0 bl-inf-1 bl-inf-2")
    # Two seeds, 0.25 and 0.3: t(1) = 12.7062, sd 0.035355, so 0.275 +- 0.31766, cut at 0.
    row = frame.loc[("ε = 8", "BL")]
    assert (row["value"], row["low"], row["seeds"]) == (pytest.approx(0.275), 0.0, 2)
    assert row["high"] == pytest.approx(0.275 + 0.31766, abs=1e-5)


def test_one_seed_keeps_its_own_interval_over_examples(tiny):
    results, study = tiny
    frame = draw_numbers("accuracy", results[results["seed"] == 1], study).frame()
    row = frame[frame["measure"] == "accuracy"].iloc[0]
    assert (row["value"], row["low"], row["high"], row["interval_over"]) == (0.6, 0.58, 0.62, "examples")


def test_every_drawn_number_is_the_mean_of_rows_of_the_results(large, small):
    for made in (small, large):
        finished = made.results.set_index(["trial", "measure"]).sort_index()
        for study, entry in made.study["studies"].items():
            numbers = Numbers(of_study(made.results, study), made.study)
            for name in entry["figures"]:
                frame = figure_of(name, numbers).frame()
                assert len(frame), name
                for row in frame.sample(min(8, len(frame)), random_state=1).itertuples():
                    values = pd.concat([finished.loc[(trial, row.measure)] for trial in row.trials.split()])
                    if not math.isnan(row.update):
                        values = values[values["update"] == row.update]
                    assert values["value"].mean() == pytest.approx(row.value)
                    assert (values["cell"] == row.cell).all()


def test_every_figure_is_covered_by_these_studies(large, small):
    named = {name for made in (small, large) for entry in made.study["studies"].values() for name in entry["figures"]}
    assert named == set(FIGURES)


def test_the_paths_go_from_the_baseline_on(large):
    figure = numbers_of(large, "techniques", "tradeoff")
    assert [panel.x_title for panel in figure.panels] == ["AUC of the strongest attack", "bias"]
    for panel in figure.panels:
        assert [series.name for series in panel.series] == ["no budget", "ε = 8"]
        for series in panel.series:
            assert [point.at for point in series.points] == ["BL", "+OBS", "+GN", "+WS", "+AM", "+PA", "+SAT"]
            assert series.look.joined
            assert all(point.across.measure in ("auc_strongest", "bias") for point in series.points)
    assert figure.panels[0].x_reference == 0.5


def test_leakage_has_a_panel_for_each_attack_with_matched_in_front(large):
    figure = numbers_of(large, "techniques", "leakage")
    attacks = ("loss threshold", "entropy threshold", "MLP", "random forest")
    assert [panel.title for panel in figure.panels] == [f"cifar10s, skew 95 %, {attack}" for attack in attacks]
    for panel in figure.panels:
        assert [series.name for series in panel.series] == [
            "no budget",
            "no budget, unmatched",
            "ε = 8",
            "ε = 8, unmatched",
        ]
        assert panel.y_reference == 0.5
        for series in panel.series:
            assert series.look.faint == series.look.hollow == series.name.endswith(", unmatched")
            assert all(p.y.measure.endswith("_naive") == series.look.hollow for p in series.points)
        assert panel.note.startswith("unmatched 0.")


def test_budget_has_a_series_for_each_skew_and_ends_at_none(large):
    figure = numbers_of(large, "budget", "budget")
    assert [panel.y_title for panel in figure.panels] == [
        "accuracy",
        "strongest AUC, matched",
        "strongest AUC, unmatched",
        "bias",
        "score",
    ]
    assert [series.name for series in figure.panels[0].series] == [
        "cifar10",
        "cifar10s, skew 75 %",
        "cifar10s, skew 95 %",
    ]
    assert [label for _, label in figure.panels[0].ticks] == ["1", "8", "∞"]
    assert len(figure.panels[2].series) == 2  # plain images have no unmatched non-members


def test_data_that_differ_in_their_limit_do_not_share_a_panel(made_up):
    made = made_up()
    made.new_study("limits", "Limits", ["budget", "skew"])
    for limit in (400, 500):
        for skew in (0.5, 0.9):
            for seed in range(3):
                made.trial({"name": "digits-s", "skew": skew, "limit": limit}, seed)
    numbers = Numbers(made.results, made.study)
    for name in ("budget", "skew"):
        panels = figure_of(name, numbers).panels
        limits = [panel.title.split(", ")[0] for panel in panels]
        assert limits == ["limit 400"] * (len(panels) // 2) + ["limit 500"] * (len(panels) // 2)
        for panel in panels:
            for series in panel.series:
                places = [point.x for point in series.points]
                assert len(set(places)) == len(places), panel.title


def test_skew_shows_the_artifact_beside_a_classifier_that_never_saw_the_members(large):
    figure = numbers_of(large, "budget", "skew")
    panel = figure.panels[0]
    assert [series.name.split(",")[0] for series in panel.series[:2]] == [
        "matched non-members",
        "unmatched non-members",
    ]
    assert {series.points[0].y.measure for series in panel.series[2:]} == {"null_auc", "null_auc_naive"}
    assert "their intervals do not overlap" in panel.alt


def test_both_arms_begin_where_nothing_is_removed(large):
    figure = numbers_of(large, "outliers", "outliers")
    accuracy = figure.panels[0]
    assert [(p.x, p.at) for p in accuracy.series[0].points] == [
        (0.0, "none removed"),
        (0.1, "10 % removed"),
        (0.3, "30 % removed"),
    ]
    assert accuracy.series[0].points[0].y == accuracy.series[1].points[0].y
    assert [panel.y_title for panel in figure.panels].count("share of survivors above the cut") == 2


def test_memorization_follows_one_example_and_marks_where_things_begin(large, png):
    figure = numbers_of(large, "memorization", "memorization", images={"29": png})
    ordinary, private = figure.panels
    assert ordinary.image == png
    assert "membership probability of example 29" in [s.name for s in ordinary.series]
    assert len([s for s in ordinary.series if s.name == "membership probability of other examples"]) == 2
    marked = ", ".join(name for _, name in ordinary.marks)
    assert all(word in marked for word in ("ES", "M", "OF"))
    assert "never" in private.note


def test_where_techniques_do_not_vary_the_budget_makes_the_axis(large):
    figure = numbers_of(large, "budget", "accuracy")
    assert [panel.x_title for panel in figure.panels] == ["budget ε"] * 3
    assert [panel.title for panel in figure.panels] == ["cifar10", "cifar10s, skew 75 %", "cifar10s, skew 95 %"]
    assert figure.title == "Accuracy by budget"
    assert numbers_of(large, "techniques", "accuracy").title == "Accuracy by technique"


def test_removal_trials_do_not_stand_among_techniques(large):
    figure = numbers_of(large, "outliers", "score")
    assert all(len(series.points) == 2 for panel in figure.panels for series in panel.series)
    assert figure.panels[0].y_title == "score (two terms, no groups)"


def test_settings_that_read_alike_are_told_apart(large, small):
    for made in (large, small):
        numbers = Numbers(made.results, made.study)
        titles = setting_titles(numbers.conditions.values())
        assert len(set(titles.values())) == len(titles)


def test_alternative_texts_state_the_finding_in_numbers(small):
    panel = numbers_of(small, "quickstart", "accuracy").panels[0]
    first = panel.series[0].points[0].y
    assert f"{first.value:.3f} [{first.low:.3f}, {first.high:.3f}] at BL" in panel.alt
    assert "accuracy by techniques" in panel.alt
    assert "overlap" in panel.alt


def test_no_two_series_of_a_panel_look_alike_without_their_color(large, small):
    for made in (small, large):
        for study, entry in made.study["studies"].items():
            numbers = Numbers(of_study(made.results, study), made.study)
            for name in entry["figures"]:
                for panel in figure_of(name, numbers).panels:
                    looks = {s.name: (s.look.marker, s.look.hollow, s.look.faint) for s in panel.series}
                    assert len(set(looks.values())) == len(looks), (name, looks)


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        ([()], [("BL",)]),
        ([ORDER, ()], [("BL", "all")]),
        ([ORDER[:k] for k in range(7)], [("BL", "+OBS", "+GN", "+WS", "+AM", "+PA", "+SAT")]),
        ([(), ("gn",), ("gn", "ws")], [("BL", "+GN", "+WS")]),
        ([(), *((c,) for c in ORDER)], [("BL", "OBS", "GN", "WS", "AM", "PA", "SAT")]),
        (
            [ORDER, *(tuple(c for c in ORDER if c != out) for out in ORDER)],
            [("all", "−OBS", "−GN", "−WS", "−AM", "−PA", "−SAT")],
        ),
        ([("gn", "am"), ("ws", "pa")], [("GN+AM", "WS+PA")]),
        ([("mine",), ()], [("BL", "+MINE")]),
    ],
)
def test_axes_of_any_mixes(arguments, labels):
    assert [axis.labels for axis in techniques_axes(arguments)] == labels


def test_every_mix_stands_on_some_axis():
    arguments = [(), *((c,) for c in ORDER), *(ORDER[:k] for k in range(2, 7)), ORDER[1:], ("ws", "sat")]
    assert {m for axis in techniques_axes(arguments) for m in axis.mixes} == set(arguments)


# What cannot be drawn


@dataclass
class Trial:
    data: tuple = (("name", "cifar10"),)
    track: object = None
    removal: object = None


@dataclass
class Study:
    figures: tuple
    name: str = "mine"
    trials: list = field(default_factory=lambda: [Trial()])


def test_an_unknown_figure_is_refused_with_a_hint(tiny):
    with pytest.raises(InputError, match=r"unknown figure 'acuracy' of the study mine.*did you mean 'accuracy'"):
        check_figures(Study(("acuracy",)))
    with pytest.raises(InputError, match="unknown figure"):
        draw_numbers("<b>", *tiny)


@pytest.mark.parametrize(
    ("figure", "measure", "trial"),
    [
        ("bias", "bias", Trial((("name", "cifar10s"),))),
        ("groups", "accuracy_in", Trial((("name", "celeba"),))),
        ("skew", "auc_strongest_naive", Trial((("name", "digits-s"),))),
        ("memorization", "membership_probability", Trial(track=True)),
        ("outliers", "exposed_survivors", Trial(removal=True)),
    ],
)
def test_a_figure_that_no_trial_can_fill_is_refused_before_training(figure, measure, trial):
    with pytest.raises(InputError) as caught:
        check_figures(Study((figure,)))
    assert f"figure '{figure}' of the study mine needs the measure {measure}, which no trial makes" in str(caught.value)
    assert "\n" not in str(caught.value)
    check_figures(Study((figure,), trials=[Trial(), trial]))


def test_data_of_ones_own_may_have_groups():
    assert "bias" in planned_measures({"name": "my/pictures"}, tracks=False, removes=False)


def test_measures_that_are_there_satisfy_the_check(small):
    check_names(FIGURES.keys() - {"memorization", "outliers"}, Numbers(small.results, small.study).measures)


def test_nothing_measured_yet_is_a_figure_without_panels_that_is_not_saved(large, tmp_path):
    results = of_study(large.results, "budget")
    figure = draw_numbers("memorization", results, large.study)
    assert figure.panels == ()
    with pytest.raises(InputError, match=r"what “Memorization over time” draws: it needs the measure membership_prob"):
        save_figure(figure, tmp_path, "x")
    private = results[~results["measure"].str.startswith(("accuracy_lost_in_", "excess_risk_"))]
    with pytest.raises(InputError, match=r"draws: it needs the measure accuracy_lost_in.*nothing is trained both with"):
        save_figure(draw_numbers("price", private, large.study), tmp_path, "x")
    with pytest.raises(InputError, match=r"no ROC curves to draw"):
        save_panels([], {}, tmp_path, "x")
    assert not list(tmp_path.iterdir())
    assert list(figure.frame().columns)
