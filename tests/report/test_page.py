"""The page as text: one file, whole, escaped, and honest about what is missing."""

import json
import math
import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from trilemma import paper
from trilemma.analysis.claims import Claim, claims
from trilemma.attacks import roc
from trilemma.errors import InputError
from trilemma.fairness import bias_amplification
from trilemma.measures import measure_of
from trilemma.report import write_report
from trilemma.report.collect import _commands, _compared, _judged, comparisons_frame
from trilemma.report.drawing import cut_short, y_limits
from trilemma.report.figures.catalog import figure_of
from trilemma.report.first_screen import first_screen
from trilemma.report.glossary import explained
from trilemma.report.headlines import headlines, studied
from trilemma.report.numbers import Numbers
from trilemma.report.page import _budgets
from trilemma.report.tables import any_table, comparisons_table, results_table
from trilemma.words import power

DIGITS = {"name": "digits-s", "skew": 0.9, "limit": 1297}


class Elements(HTMLParser):
    """Every element with its attributes; the text of those that are not script or style."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.words, self._inside = [], [], ""
        self.feed(page.read_text("utf-8"))
        self.text = " ".join(" ".join(self.words).split())  # narrow spaces become plain ones

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def small_elements(small_page):
    return Elements(small_page)


@pytest.fixture(scope="module")
def large_elements(large_page):
    return Elements(large_page)


def test_one_training_beside_several_seeds_is_marked_in_every_line_of_levels(made_up):
    """Guards: an interval over test images, not marked as such, above a sentence that speaks of 1 to 3 seeds."""
    made, every = made_up(), ("obs", "gn", "ws", "am", "pa", "sat")
    made.new_study("s", "t", [])
    for mix, seeds in (((), (0, 1, 2)), (every, (0,))):
        for seed in seeds:
            for epsilon in (math.inf, 8.0):
                made.trial(DIGITS, seed, techniques=mix, epsilon=epsilon, groups=("color", "gray"))
    lines = headlines(Numbers(made.results, made.study), [], named=False)
    assert {line.lead for line in lines} >= {"Accuracy", "Leakage", "Bias", "Unmatched"}
    assert all("(one training)" in line.text and "[" not in line.text for line in lines)


def test_a_learning_rate_of_each_budget_is_told_on_the_first_screen(made_up):
    made = made_up()
    made.new_study("s", "t", [], seeds=range(5))
    for seed in range(5):
        made.trial(DIGITS, seed, epsilon=math.inf, learning_rate=0.3)
        made.trial(DIGITS, seed, epsilon=8.0, learning_rate=2.0)
    judged = [claim for claim in claims(made.results, made.study) if claim.name == "budget-auc"]
    lines = headlines(Numbers(made.results, made.study), judged, named=False)
    assert "each with the learning rate chosen for its budget" in lines[-1].text


def test_a_study_of_one_trial_is_told_in_the_singular(made_up, tmp_path):
    made = made_up()
    made.new_study("one", "One", ["accuracy"], "One trial.", seeds=(0,))
    made.trial({"name": "digits-s", "skew": 0.9}, 0, ("gn",), 8.0, groups=("colour", "gray"), model="convnet-4")
    text = Elements(write_report(tmp_path, made.results, made.study, claims=claims(made.results, made.study))).text
    assert re.search("1 training of one network, convnet-4 ?, on digits-s", text)
    assert re.search(r"at ε = 8 ?; the model was then attacked", text)
    assert "1 of 1 trial finished" in text
    assert not re.search(r"\b1 (trials|seeds|trainings)\b|\b1 seed each", text)


@pytest.mark.parametrize("which", ["small_elements", "large_elements"])
def test_one_file_without_network(which, request, large_page, small_page):
    document = request.getfixturevalue(which)
    folder = (small_page if which == "small_elements" else large_page).parent
    for _, attrs in document.elements:
        for key in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
            value = attrs.get(key)
            if value is None or value.startswith(("#", "data:")):
                continue
            if value == paper.URL:  # a link that a reader may follow; nothing is fetched from there
                continue
            assert (folder / value).is_file(), f"{key}={value}"
    style = folder.joinpath("report.html").read_text("utf-8")
    assert not re.search(r"url\((?!#)|@import", style)
    assert "default-src 'none'" in style


@pytest.mark.parametrize("which", ["small_elements", "large_elements"])
def test_ids_are_there_once_and_links_lead_somewhere(which, request):
    document = request.getfixturevalue(which)
    ids = [attrs["id"] for _, attrs in document.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for attrs in document.all("a"):
        if attrs["href"].startswith("#"):
            assert attrs["href"][1:] in ids
    for _, attrs in document.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert attrs.get(key, ids[0]) in ids


def test_names_from_outside_are_only_names(large_elements, large_page, nasty):
    assert [attrs for attrs in large_elements.all("script") if attrs] == []
    assert len(large_elements.all("script")) == 1
    assert all(attrs.get("src", "").startswith("data:") for attrs in large_elements.all("img"))
    assert not any(key.startswith("on") for _, attrs in large_elements.elements for key in attrs)
    assert nasty in large_elements.text
    assert nasty not in large_page.read_text("utf-8")
    assert "<img src=x" not in large_page.read_text("utf-8")


def test_how_settings_were_chosen_is_said_where_it_matters(small, tmp_path):
    study = json.loads(json.dumps(small.study))
    trials = list(study["trials"].values())
    for trial in trials[:2]:
        trial["recipe"]["provenance"] = "chosen by <b>9</b> looks"
    text = Elements(write_report(tmp_path, small.results, study)).text
    position = text.index("Settings of 2 trials: chosen by <b>9</b> looks")
    assert text.index("Choices made by looking") < position


def test_what_a_reader_must_know_comes_first(small_elements):
    text = small_elements.text
    places = [
        text.index(words)
        for words in (
            "12 trainings of one network",
            "Accuracy : more on this",
            "Each question was fixed",
            "Accuracy by",
        )
    ]
    assert places == sorted(places)
    for words in (
        "12 of 12 trials finished",
        "digits-s , skew 90 % (2,000 training examples)",
        "(ε, δ) = (8, 1e-5)",
        "one training example",
        "adding or removing one",
        "Poisson samples",
        "privacy loss distributions (PLD)",
        "Whatever is measured with training images",
        "Choices made by looking",
        "definition normalized",
        "matched : drawn from the test set with the members’ own mix of class and group",
        paper.CITATION,
        paper.URL,
    ):
        assert words in text, words


def test_every_figure_has_its_files_and_a_text_of_its_finding(large_page, large, large_elements):
    several = large_page.parent / "figures"
    stems = {path.stem for path in several.iterdir()}
    for study, entry in large.study["studies"].items():
        for name in entry["figures"]:
            stem = next(s for s in stems if s.endswith(f"-{name}") and s.startswith(study[:5]))
            for kind in ("svg", "pdf", "png", "csv"):
                assert (several / f"{stem}.{kind}").stat().st_size > 100
    charts = [attrs for attrs in large_elements.all("svg") if attrs.get("role") == "img"]
    assert len(charts) > 15
    assert all(re.search(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", attrs["aria-label"]) for attrs in charts)
    assert len({attrs["aria-label"] for attrs in charts}) == len(charts)


def test_numbers_of_one_study_need_no_prefix(small_page):
    names = {path.name for path in (small_page.parent / "figures").iterdir()}
    assert {"accuracy.svg", "tradeoff.csv", "leakage.pdf", "score.png"} <= names
    frame = pd.read_csv(small_page.parent / "figures" / "accuracy.csv")
    results = pd.read_csv(small_page.parent / "results.csv")
    assert set(frame["cell"]) <= set(results["cell"])


def test_the_table_has_every_cell_and_measure_with_interval(small, small_elements):
    table = results_table(Numbers(small.results, small.study))
    assert len(table.rows) == 4
    measures = set(small.results["measure"])
    assert len(table.columns) == 3 + len(measures)
    titles = [column.title for column in table.columns]
    assert titles[-1] == "seeds"
    assert titles[:7] == [
        "techniques",
        "budget",
        "accuracy",
        "strongest AUC, matched",
        "strongest AUC, unmatched",
        "bias",
        "score",
    ]
    row = table.rows[0]
    mean = small.results.query("measure == 'accuracy' and techniques == 'bl' and epsilon == inf")["value"].mean()
    assert row[2].text == f"{mean:.3f}"
    assert row[2].text in small_elements.text
    assert re.fullmatch(r"\[0\.\d{3}, 0\.\d{3}\]", row[2].small)
    covered = {column.title: column.covered for column in table.columns}
    assert covered["accuracy"]
    assert covered["bias"]
    assert not covered["strongest AUC, matched"]
    assert not covered["train accuracy"]
    assert "digits-s, skew 90 %" in table.caption
    assert "network convnet-16" in table.caption


def test_comparisons_say_what_they_found():
    row = {
        "measure": "accuracy",
        "setting": "s",
        "change": "all",
        "base": "BL",
        "difference": 0.1,
        "low": 0.05,
        "high": 0.15,
        "p_adjusted": 0.0001,
        "seeds": 3,
        "verdict": "higher",
    }
    entries = comparisons_table(
        [row, row | {"difference": -0.1, "verdict": "new word", "p_adjusted": float("nan")}]
    ).rows
    assert [entry.text for entry in entries[0]] == ["all", "accuracy", "+0.100", "▲ higher", "BL", "s", "< 0.001", "3"]
    assert [entry.text for entry in entries[1]][2:] == ["−0.100", "new word", "BL", "s", "–", "3"]
    assert [entries[2].small for entries in comparisons_table([row, row | {"low": -0.02}]).rows] == [
        "[+0.050, +0.150]",
        "[−0.020, +0.150]",
    ]
    marks = [row | {"fragile": fragile} for fragile in (True, False)]
    assert [entries[3].small for entries in comparisons_table(marks).rows] == ["with these seeds", ""]


def test_noise_in_a_sentence_on_privacy_does_not_open_what_chance_between_seeds_means():
    for words in ("(the noise multiplier)", "accounting, sampling or noise is wrong"):
        assert "term-noise" not in explained(words)
    for words in ("within noise", "no difference beyond noise", "cannot tell"):
        assert 'popovertarget="term-noise"' in explained(words)


def test_the_price_of_a_study_opens_its_terms_and_folds_its_conditions(tmp_path, small):
    sentences = {"paragraphs": ["Releasing all costs epsilon 8 at delta 1e-5."], "condition_sentences": ["It holds."]}
    family = {"family": "f", "trials": [{"id": "t", "epsilon": 8.0, "delta": 1e-5, "label": "", "chosen_by": None}]}
    page = write_report(tmp_path, small.results, small.study, ledger=sentences | {"families": [family]})
    spent = page.read_text("utf-8").split('id="spent-title"')[1].split("</section>")[0]
    assert 'popovertarget="term-epsilon">epsilon</button> 8' in spent
    assert 'popovertarget="term-delta">delta</button> 1e-5' in spent
    assert spent.index("<details") < spent.index("It holds.") < spent.index("</details>")
    assert ">1e-5</td>" in spent


def test_pages_spell_groups_as_the_documents_do(large_elements, small_elements):
    """The key of the skewed sets' group is fixed in their files; what people read is not."""
    assert "accuracy in color" in large_elements.text
    for elements in (large_elements, small_elements):
        assert "colour" not in elements.text
        assert not any("colour" in str(value) for _, attrs in elements.elements for value in attrs.values())


def test_paper_has_no_heading_of_recipes_without_a_recipe(small_page):
    assert re.search(r'<div class="machine">\s*<h3>Recipes</h3>', small_page.read_text("utf-8"))


def test_any_rows_make_a_table():
    table = any_table("x", "c", [{"a": 1, "b": None}, {"a": 2.5, "c_d": True}])
    assert [column.title for column in table.columns] == ["a", "b", "c d"]
    assert [[entry.text for entry in row] for row in table.rows] == [["1", "–", "–"], ["2.5", "–", "yes"]]


def test_claims_have_a_verdict_in_words_and_sign(tmp_path, small):
    made = [
        Claim("n", "paper", "a statement", "confirmed", "it is so"),
        Claim("m", "paper", "another", "not measured", "no such trials"),
    ]
    text = Elements(write_report(tmp_path, small.results, only(small, "bias"), claims=made)).text
    assert "✓ confirmed the paper’s claim A statement it is so" in text
    assert "1 more question that these results do not answer" in text


def only(made, *figures):
    """The study with just these figures: they take the time."""
    return made.study | {"studies": {n: e | {"figures": list(figures)} for n, e in made.study["studies"].items()}}


def test_an_unfinished_study_says_what_is_missing(tmp_path, small):
    trials = list(small.study["trials"])
    gone = [t for t in trials if small.study["trials"][t]["recipe"]["epsilon"] is not None]
    results = small.results[~small.results["trial"].isin(gone)]
    page = write_report(
        tmp_path,
        results,
        only(small, "accuracy", "memorization"),
        missing=dict.fromkeys(gone[1:], "not run yet") | {trials[0]: "has results by now"},
        failures={gone[0]: "InputError: <b>no data</b>"},
    )
    elements = Elements(page)
    assert "6 of 12 trials finished, 1 failed, 5 not finished yet" in elements.text
    assert "Drawn from 6 of 12 trials." in elements.text
    assert "Failed (1)" in elements.text
    assert "InputError: <b>no data</b>" in elements.text
    assert "Not finished (5)" in elements.text
    assert "has results by now" not in elements.text
    assert "digits-s, skew 90 %, BL, ε = 8, seed 0" in elements.text
    assert "Not measured yet." in elements.text  # the memorization figure has nothing to draw


def test_an_unfinished_study_gets_no_verdict(small):
    """Guards: a verdict on a part of a study, which the rest of it may turn around."""
    finished = dict.fromkeys(small.study["trials"])
    assert {c.verdict for c in _judged(small.results, small.study, finished)} > {"not measured"}
    # A program that reads comparisons.csv finds its columns also before the study has finished.
    assert list(comparisons_frame([])) == list(pd.DataFrame(_compared(small.results, small.study, finished)[0]))
    rows, notes = _compared(small.results, small.study, finished)
    assert {row["verdict"] for row in rows} & {"higher", "lower", "within noise"}
    assert notes == []
    finished.popitem()
    assert _judged(small.results, small.study, finished) == ()
    assert _compared(small.results, small.study, finished) == (
        [],
        ["The study quickstart has not finished: its conditions are compared when it has."],
    )


def test_a_study_of_which_a_seed_is_missing_does_not_count_it_as_trained(small):
    table = small.results[small.results["trial"] != small.results["trial"].iloc[-1]]
    sentence = studied(list(Numbers(table, small.study).conditions.values()))
    assert sentence.startswith("11 trainings")
    assert "2 to 3 seeds each; each model was then attacked" in sentence
    assert sentence.count(".") == 1, "what was studied is one sentence"


def unsigned(words):
    """Ends of intervals of signed numbers that have no sign themselves and are not zero."""
    ends = [end for pair in re.findall(r"[+−][0-9.]+ \[([^,\]]+), ([^\]]+)\]", words) for end in pair]
    return [end for end in ends if end[0] not in "+−" and float(end)]


def test_findings_name_measures_in_words_and_have_one_minus_sign(small, large):
    for made in (small, large):
        judged = claims(made.results, made.study)
        for claim in judged:
            for words in (claim.sentence, *(finding.sentence for finding in claim.findings)):
                assert "auc_" not in words
                assert "harmonic_score" not in words
                assert not re.search(r"(?<![\w)])-[0-9]", words), words
                assert not unsigned(words), "the interval of a signed number has signs too"
                assert "1/2" not in words
        differences = [line.text for line in headlines(Numbers(made.results, made.study), judged, named=True)]
        assert not unsigned(" ".join(differences))
        assert not re.search(r" changes? .* by [0-9]", "\n".join(differences))


@pytest.fixture(scope="module")
def two_seeds(small):
    """The quickstart's results of the first two of its three seeds."""
    return small.results[small.results["seed"] < 2].reset_index(drop=True)


def test_two_seeds_are_drawn_as_they_are_and_the_page_says_what_they_cannot_tell(two_seeds, small):
    """Guards: lines from one end of a figure to the other, since an interval over two seeds holds nearly everything."""
    numbers = Numbers(two_seeds, small.study)
    judged = claims(two_seeds, small.study)
    first, *others = headlines(numbers, judged, named=False)
    accuracy = [numbers.get(condition, "accuracy") for condition in numbers.conditions.values()]
    apart = max(abs(first_seed - other) for first_seed, other in (n.by_trial for n in accuracy))
    assert (first.lead, len(others)) == ("2 seeds", 4)
    assert f"up to {apart:.3f} apart in accuracy" in first.text
    assert all("the same models" in line.text for line in others if line.lead in ("Leakage", "Bias", "Unmatched"))
    assert ("cannot tell which is better" in first.text) == all(
        claim.verdict in ("cannot tell", "not measured") for claim in judged
    )
    assert re.search(r"accuracy of 0\.\d{3} \(0\.\d{3} and 0\.\d{3}\) without", others[0].text)
    for figure in (figure_of(name, numbers) for name in ("tradeoff", "accuracy", "bias")):
        assert "from one seed to the other (2 seeds)" in figure.intervals
        for panel, (low, high) in zip(figure.panels, y_limits(figure), strict=True):
            values = [v for s in panel.series for p in s.points for v in p.y.by_trial]
            lowest = min(values) if panel.floor is None else panel.floor
            assert high - low <= max(1.13 * (max(values) - lowest), 0.13)
            assert not cut_short(panel)


def test_one_training_beside_three_seeds_is_marked(small):
    """Guards: an interval over test images beside one over seeds, as if the two said the same."""
    private = small.results["epsilon"] == 8.0
    part = small.results[~private | (small.results["seed"] == 0)].reset_index(drop=True)
    lines = {line.lead: line.text for line in headlines(Numbers(part, small.study), (), named=False)}
    assert len([lines[lead] for lead in ("Accuracy", "Leakage", "Bias")]) == 3
    for lead in ("Accuracy", "Leakage", "Bias"):
        assert re.search(r"0\.\d{3} \[.*\] without a budget and 0\.\d{3} \(one training\) at ε = 8", lines[lead])
    values = first_screen(Numbers(part, small.study), (), small.study)
    assert "over seeds and are 95 % intervals over test images, where there is one" in values["glance"]["lines"]
    whole = first_screen(Numbers(small.results, small.study), (), small.study)
    assert whole["glance"]["lines"] == "Thin lines are 95 % intervals over seeds"


def test_what_the_page_calls_good_is_good(small, small_elements):
    """Guards: "down is more accurate", and a wrong number for guessing or even-handed, which no other test reads."""
    numbers = Numbers(small.results, small.study)
    panel = figure_of("tradeoff", numbers).panels[0]
    low, high = y_limits(figure_of("tradeoff", numbers))[0]
    assert low < high
    assert (panel.y_title, measure_of(panel.y_title).better) == ("accuracy", "higher")
    assert "Up is more accurate." in small_elements.text
    assert "Down is" not in small_elements.text
    lines = {line.lead: line.text for line in headlines(numbers, (), named=False)}
    rng = np.random.default_rng(0)
    even = float(bias_amplification(np.tile(rng.integers(0, 5, 50), 2), np.repeat([0, 1], 50), 5))
    assert lines["Bias"].endswith(f"; {even:.0f} is even-handed.")
    blind = roc.measure(np.ones(20), np.arange(20) < 10).auc
    assert (float(np.squeeze(blind)), lines["Leakage"].endswith("; ½ is guessing.")) == (0.5, True)


def _levels_of(small, *, steps=(-0.001, 0.0, 0.001), **by_measure):
    """The first screen's lines where the loss threshold's AUCs, over three seeds, lie around these values."""
    table = small.results.copy()
    for measure, value in by_measure.items():
        apart = steps if measure == "auc_threshold" else (-0.001, 0.0, 0.001)
        for seed, step in enumerate(apart):
            table.loc[(table["measure"] == measure) & (table["seed"] == seed), "value"] = value + step
    return {line.lead: line.text for line in headlines(Numbers(table, small.study), (), named=False)}


def test_an_unmatched_auc_is_called_skew_only_where_the_control_explains_it(small):
    """Guards: a first screen that calls an AUC far above the control's skew, and so hides what the model leaks."""
    matched, unmatched, control = "auc_threshold", "auc_threshold_naive", "null_auc_naive"
    explained = _levels_of(small, **{matched: 0.5, unmatched: 0.602, control: 0.601})
    assert explained["Skew"].endswith("it lies within 0.02 of ½: that is skew, not memory.")
    for values in (
        {matched: 0.5, unmatched: 0.7, control: 0.6},  # more than the control
        {matched: 0.6, unmatched: 0.602, control: 0.601},  # the matched AUC is above ½ too
        {matched: 0.4, unmatched: 0.5, control: 0.5},  # the control shows no skew
    ):
        told = _levels_of(small, **values)
        assert "Skew" not in told
        assert "not memory" not in told["Unmatched"]
        assert f"Against matched ones it is {values[matched]:.3f}" in told["Unmatched"]


@pytest.mark.parametrize(("value", "step"), [(0.57, 0.065), (0.51, 0.012), (0.525, 0.001)])
def test_an_interval_that_covers_one_half_does_not_show_that_nothing_leaks(small, value, step):
    """Guards: "that is skew, not memory" beside a matched AUC of 0.570 [0.407, 0.733]."""
    around = {"auc_threshold": value, "auc_threshold_naive": 0.602, "null_auc_naive": 0.601}
    told = _levels_of(small, steps=(-step, 0.0, step), **around)
    assert "Skew" not in told
    assert f"Against matched ones it is {value:.3f}" in told["Unmatched"]


def test_the_sentence_on_several_settings_names_each_data_set_once(large):
    sentence = studied(list(Numbers(large.results, large.study).conditions.values()))
    names = set(large.results["data"])
    assert names >= {"cifar10", "cifar10s"}
    assert all(re.split("[ ,]+", sentence).count(name) == 1 for name in ("cifar10", "cifar10s")), sentence
    assert "settings" in sentence


def test_the_command_to_run_it_again_is_the_one_that_ran_it():
    """Guards: a command that names a study of one's own as if it came with the package, and gives it other seeds."""
    entry = {"scale": "", "seeds": [3, 4], "command": ""}
    kept = entry | {"command": "trilemma study mine.toml --data digits --out DIR"}
    folder = [None]
    assert _commands({"studies": {"mine": kept}}, folder)[0] == f"{kept['command']}  # mine: seeds 3, 4"
    assert _commands({"studies": {"mine": entry}}, folder)[0].startswith("trilemma study mine.toml --out DIR  # mine")
    first = entry | {"seeds": [0, 1], "scale": "small"}
    assert _commands({"studies": {"budget": first}}, folder)[0] == (
        "trilemma study budget --scale small --seeds 2 --out DIR"
    )
    parts = {name: kept | {"command": "trilemma study paper --out DIR"} for name in ("techniques", "budget")}
    assert _commands({"studies": parts}, folder) == ["trilemma study paper --out DIR", "trilemma report DIR"]


def test_three_seeds_keep_their_intervals(small):
    numbers = Numbers(small.results, small.study)
    assert headlines(numbers, (), named=False)[0].lead == "Accuracy"
    figure = figure_of("tradeoff", numbers)
    assert "Student’s t over 3 seeds" in figure.intervals
    assert "one seed to the other" not in figure.intervals
    assert all(number.error_bar == (number.low, number.high) for number in figure.numbers)


def test_nothing_at_all_is_finished(tmp_path, small):
    page = write_report(
        tmp_path, small.results.iloc[:0], small.study, missing=dict.fromkeys(small.study["trials"], "not run yet")
    )
    text = Elements(page).text
    assert "0 of 12 trials finished, 12 not finished yet" in text
    assert "No trial has finished yet." in text
    assert "These figures will follow: Accuracy, leakage and bias at once; Accuracy by technique;" in text
    # What is planned is known before anything is measured.
    assert "Budgets here: (ε, δ) = (8, 1e-5)." in text
    assert "With skewed training images the balanced test set does not" in text
    for wrong in ("No trial here had a budget", "This data has no groups", "the whole test set can be used"):
        assert wrong not in text


def test_a_whole_study_without_the_measure_is_an_error(tmp_path, large):
    results = large.results[large.results["studies"] == "outliers"]
    study = large.study | {"studies": {"outliers": large.study["studies"]["outliers"] | {"figures": ["bias"]}}}
    with pytest.raises(InputError, match="the figure 'bias' of the study outliers needs the measure bias"):
        write_report(tmp_path, results, study)


def test_images_of_ones_own_that_turn_out_to_have_no_groups_keep_their_page(tmp_path, large):
    results = large.results[large.results["studies"] == "outliers"]
    entry = large.study["studies"]["outliers"] | {"figures": ["bias"]}
    trials = {name: large.study["trials"][name] | {"data": {"name": "my/pictures"}} for name in entry["trials"]}
    page = write_report(tmp_path, results, {"studies": {"outliers": entry}, "trials": trials})
    assert "No trial made its measure: its data has no groups" in Elements(page).text


def test_an_unknown_figure_is_an_error(tmp_path, small):
    with pytest.raises(InputError, match=r"unknown figure 'tradeof'.*did you mean 'tradeoff'"):
        write_report(tmp_path, small.results, only(small, "tradeof"))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, small):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "file", small.results, only(small, "bias"))


def test_the_page_is_the_same_each_time(tmp_path, small):
    pages = [write_report(tmp_path / name, small.results, only(small, "bias")).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_studies_in_one_page_are_told_apart(large_elements, large):
    for entry in large.study["studies"].values():
        assert entry["title"] in large_elements.text
    assert "5 studies, side by side" in large_elements.text


def test_results_of_thousands_of_rows_stay_quick(tmp_path, small):
    wide = []
    for copy in range(14):
        part = small.results.assign(cell=small.results["cell"] + str(copy), trial=small.results["trial"] + str(copy))
        wide.append(part.assign(data=f"set {copy}"))
    results = pd.concat(wide, ignore_index=True)
    assert len(results) > 5000
    trials = list(results["trial"].unique())
    entry = small.study["studies"]["quickstart"] | {"trials": trials, "figures": []}
    start = time.process_time()
    page = write_report(tmp_path, results, small.study | {"studies": {"quickstart": entry}})
    assert time.process_time() - start < 20
    assert page.stat().st_size < 2_000_000
    assert Elements(page).text.count("set 11") < 10  # rows of conditions, not of trials and measures


def test_what_was_spent_at_one_delta_is_not_said_of_another() -> None:
    conditions = [SimpleNamespace(name=name, epsilon=8.0, delta=delta) for name, delta in (("a", 1e-5), ("b", 1e-3))]
    spent = {("a", "epsilon_spent"): SimpleNamespace(value=7.9), ("b", "epsilon_spent"): SimpleNamespace(value=5.2)}
    numbers = SimpleNamespace(get=lambda condition, measure: spent.get((condition.name, measure)))
    assert _budgets(conditions, numbers) == [  # type: ignore[arg-type]
        f"(ε, δ) = (8, {power(1e-5)}), of which at most ε = 7.900 was spent",
        f"(ε, δ) = (8, {power(1e-3)}), of which at most ε = 5.200 was spent",
    ]
