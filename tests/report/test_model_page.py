"""The page of one model and ``statement.json``, and the gate in the commands that have it."""

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import trilemma as tl
from trilemma.attacks.cells import lacking
from trilemma.cli.main import main
from trilemma.cli.table import describe_run
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError
from trilemma.privacy.accounting import Event
from trilemma.privacy.ceiling import largest_tpr
from trilemma.report.evidence import OneModel
from trilemma.report.model_facts import lead
from trilemma.report.model_page import page_of, statement_of, write_model_page
from trilemma.statistics.intervals import binomial_interval
from trilemma.training.execution import Execution
from trilemma.trial.card import card
from trilemma.trial.statement import ceiling_in_words
from trilemma.words import SEEDED_NOISE

NAMES = ("=cmd|'/c calc'!A1", "<script>alert(1)</script>", "plain")
RECIPE = {"model": "convnet-4", "epsilon": 8.0, "batch_size": 40, "epochs": 0.5, "norm_groups": 2, "evaluations": 1}


def of(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    return Split(images, np.arange(count) % 3, np.arange(count) // 3 % 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = Dataset("mine", of(120, 0), of(120, 1), NAMES, ("<b>one</b>", "two"))
    out = tmp_path_factory.mktemp("runs") / "one"
    return tl.train(tl.Recipe(**RECIPE), data, out, execution=Execution("cpu", 40, "float32"))


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def text_of(model, statement):
    return " ".join(" ".join(Tags(page_of(model, statement)).text).split())


def unspaced(text):
    """Without spaces, which stand around the buttons of terms where tags are taken out."""
    return "".join(text.split())


def test_the_page_says_what_the_result_says_and_names_stay_text(run, tmp_path, capsys):
    assert main(["report", str(run.folder), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "model.html")
    page = Tags((tmp_path / "model.html").read_text())
    text = " ".join(" ".join(page.text).split())
    assert page.tags.count("script") == 1  # the page's own, for its colors
    assert "b" not in page.tags
    assert NAMES[1] in text
    statement = json.loads((tmp_path / "statement.json").read_text())
    privacy = run.result["privacy"]
    assert statement["guarantee"]["epsilon"] == privacy["epsilon"]
    assert len(statement["verdict"]) == 3
    assert len(statement["numbers"]) == 3
    for sentence in (*statement["verdict"], ceiling_in_words(privacy["ceiling"])):
        assert unspaced(sentence) in unspaced(text)
    assert "weak evidence" in text or "Stronger attacks" in text
    assert f"{run.result['fairness']['worst_cell_accuracy']:.3f}" in text
    assert SEEDED_NOISE not in text


def test_the_page_explains_the_names_in_its_title(run):
    """Guards: a title of codes (digits-s, BL, convnet-16), which only those who trained the model can read."""
    model = OneModel.read(run.folder)
    assert "trained on 120 images. Its network is convnet-4 (a small convolutional network)" in lead(model)
    data = model.config["data"] | {"request": {"name": "digits-s"}, "groups": ["<b>", "gray"]}
    recipe = model.config["recipe"] | {"techniques": ["gn", "mine:part"], "model": "wrn-16-4"}
    known = OneModel(model.folder, "run", {"data": data, "recipe": recipe}, model.result, model.signals)
    text = text_of(known, statement_of(known))
    for words in (
        "images of digits-s (handwritten digits, 8×8, in color or gray), of which 90 % of each class belong to one "
        "group (<b> or gray). Its network is wrn-16-4 (a wide ResNet, 16 layers deep and 4 times as wide as a plain "
        "one), and it was trained with group normalization and mine:part.",
        "secret: drawn with a key from the operating system, which was not kept",
    ):
        assert unspaced(words) in unspaced(text), words


def test_the_drawn_ceiling_is_that_of_the_event_that_happened(run):
    model = OneModel.read(run.folder)
    event = run.result["privacy"]["event"]
    rates, most = model.ceiling
    event = Event(event["sampling_probability"], event["noise_multiplier"], event["updates"])
    np.testing.assert_array_equal(most, largest_tpr(event, rates))
    assert (most >= rates).all()
    area = np.trapezoid(model.curve.tpr, model.curve.fpr)
    assert area == pytest.approx(model.aucs[model.headline].value, abs=1e-9)
    assert model.headline == run.result["headline_attack"] == "threshold"


def test_first_lines_of_a_reproducible_model(run):
    model = OneModel.read(run.folder)
    privacy = model.result["privacy"] | {"noise_source": "seeded"}
    model = OneModel(model.folder, "run", model.config, dict(model.result) | {"privacy": privacy}, model.signals)
    page = Tags(page_of(model, statement_of(model)))
    text = " ".join(" ".join(page.text).split())
    assert text.index(SEEDED_NOISE) < text.index("Verdict")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            "threshold",
            "Attacks tell training examples from others: the AUC of the headline attack is 0.042 [0.033, 0.0",
        ),
        ("mlp", ". Another interval excludes one half: 0.042 [0.033, 0.054] (MLP)"),
    ],
)
def test_an_attack_far_below_one_half_is_shown_as_it_is(run, wrong, says):
    model = OneModel.read(run.folder)

    def with_auc(name, auc, ends):
        values = model.result["attacks"][name]
        return {name: values | {"auc": auc, "interval": values["interval"] | {"auc": ends}}}

    attacks = {}
    for name in model.result["attacks"]:
        attacks |= with_auc(name, *((0.042, [0.033, 0.054]) if name == wrong else (0.51, [0.48, 0.54])))
    model = OneModel(model.folder, "run", model.config, dict(model.result) | {"attacks": attacks}, model.signals)
    statement = statement_of(model)
    assert says in statement["verdict"][1]
    shown = "0.042 [0.033, 0.054]" if wrong == "threshold" else "0.510 [0.480, 0.540]"
    assert statement["numbers"][1] == {
        "name": "AUC",
        "shown": shown,
        "about": "headline attack: loss threshold; ½ is chance",
    }
    assert "0.958" not in page_of(model, statement)


def test_the_verdict_names_the_worst_cell(run):
    """Guards: a model that fails one cell looks fine, since its worst group does."""
    model = OneModel.read(run.folder)
    fairness = run.result["fairness"]
    low, high = fairness["worst_cell_interval"]
    statement, worst = statement_of(model), fairness["worst_cell"]
    share = f"{100 * fairness['worst_cell_accuracy']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    where = f"class {worst['class_name']} in {worst['group']}, the worst class and group, correctly."
    assert statement["verdict"][2].endswith(f"{share} of the {worst['examples']} images of {where}")
    assert statement["numbers"][2]["name"] == "accuracy, worst class and group"
    assert statement["numbers"][2]["shown"] == f"{fairness['worst_cell_accuracy']:.3f} [{low:.3f}, {high:.3f}]"
    # Of a result of an earlier version, it is read off the table of cells.
    outside = ~model.signals["member"]
    table = model.signals.assign(predicted=model.signals["label"].where(outside, model.signals["predicted"]))
    cell = outside & (table["label"] == 2) & (table["group"] == 1)
    table.loc[table[cell].index[:7], "predicted"] = 0
    earlier = dict(run.result) | {"fairness": {n: v for n, v in fairness.items() if n != "worst_cell_interval"}}
    statement = statement_of(OneModel(model.folder, "run", model.config, earlier, table))
    count = int(cell.sum())
    low, high = (round(100 * end) for end in binomial_interval(1 - 7 / count, count))
    share = f"{100 * (1 - 7 / count):.0f} % [{low}, {high}]"
    where = f"of the {count} images of class plain in two, the worst class and group, correctly."
    assert statement["verdict"][2].endswith(f"{share} {where}")


def test_each_class_and_group_shows_its_accuracy_and_leakage(run):
    """Guards: leakage of a whole class shown for its groups; rows of weight 0 compared."""
    model = OneModel.read(run.folder)
    copies = [model.signals.assign(source=model.signals["source"] + 10_000 * copy) for copy in range(4)]
    table = pd.concat(copies, ignore_index=True)  # of the fixture's few examples no cell has enough
    rare = (table["label"] == 0) & (table["group"] == 0) & table["member"]
    table = table[~rare | (rare.cumsum() <= 49)]
    model = OneModel(model.folder, "run", model.config, model.result, table)
    statement = statement_of(model)
    counted = table[table["weight"] > 0]
    shown = 0
    for cell in statement["cells"]:
        here = counted["label"] == NAMES.index(cell["class"])
        here &= counted["group"] == model.config["data"]["groups"].index(cell["group"])
        part = counted[here]
        sides = part["member"].value_counts()
        assert (cell["auc"] is None) == (len(sides) < 2 or sides.min() < 50)
        if cell["auc"] is not None:
            shown += 1
            scores = part[f"score_{model.headline}"]
            auc = roc_auc_score(part["member"], scores, sample_weight=part["weight"])
            assert cell["auc"] == pytest.approx(auc, abs=1e-9)
            assert cell["auc_interval"][0] - 0.02 <= auc <= cell["auc_interval"][1] + 0.02
            assert f"{cell['auc']:.3f} [" in text_of(model, statement)
    assert 0 < shown < len(statement["cells"])
    few = next(cell for cell in statement["cells"] if cell["auc"] is None)
    assert few["reason"] == lacking(few["members"], few["nonmembers"])
    assert f"has {few['members']} members and {few['nonmembers']} non-members" in text_of(model, statement)


def test_leakage_by_group_and_by_class_is_that_of_the_result(run):
    """Guards: a verdict that compares the AUC of all with the accuracy of the worst group, and says nothing of who
    leaks; a class's AUC repeated for each of its groups."""
    model = OneModel.read(run.folder)

    def entry(auc):
        attacks = {model.headline: {"auc": auc, "interval": {"auc": [auc - 0.05, auc + 0.05]}}, "other": {"auc": 0.9}}
        return {"members": 60, "nonmembers": 60, "attacks": attacks}

    by_group = {"<b>one</b>": entry(0.5111), "two": entry(0.6222)}
    by_class = {name: {"members": 5, "nonmembers": 90, "too_few": True} for name in NAMES} | {"plain": entry(0.6789)}
    result = dict(model.result) | {"attacks_by_class": by_class, "attacks_by_group": by_group}
    model = OneModel(model.folder, "run", model.config, result, model.signals)
    statement = statement_of(model)
    assert [(g["group"], g["auc"]) for g in statement["groups"]] == [("<b>one</b>", 0.5111), ("two", 0.6222)]
    reasons = [part.get("reason") for part in statement["classes"]]
    assert reasons == ["needs 50 members, has 5", "needs 50 members, has 5", None]
    says = "0.622 [0.572, 0.672] for two, and the interval for two excludes one half (of 2 groups)."
    assert statement["verdict"][1].endswith(f". By group it is 0.511 [0.461, 0.561] for <b>one</b> and {says}")
    text = text_of(model, statement)
    assert says in text
    assert text.count("0.679 [0.629, 0.729]") == 1  # once, for the class
    assert "has 5 members and 90 non-members" in text
    few = {name: {"members": 9, "nonmembers": 90, "too_few": True} for name in by_group}
    model = OneModel(model.folder, "run", model.config, result | {"attacks_by_group": few}, model.signals)
    assert "By group it is unknown for <b>one</b> (needs 50 members, has 9)" in statement_of(model)["verdict"][1]


def test_an_audit_of_a_run_knows_the_guarantee_and_one_of_predictions_does_not(run):
    model = OneModel.read(run.folder)
    audit = {name: value for name, value in model.result.items() if name != "privacy"}
    audit |= {"source": "run", "members": 40, "nonmembers": 40}
    known, unknown = (
        statement_of(OneModel(model.folder, "audit", {}, audit | more, model.signals))
        for more in ({"privacy": model.result["privacy"]}, {})
    )
    assert known["guarantee"]["epsilon"] == model.result["privacy"]["epsilon"]
    assert known["guarantee"]["conditions"]
    assert known["numbers"][0]["shown"] != "unknown"
    assert any(sentence.startswith("The negative control of the run") for sentence in known["evidence"]["strength"])
    assert unknown["guarantee"]["statement"].startswith("No guarantee is known")
    assert unknown["numbers"][0]["shown"] == "unknown"


def test_predictions_that_were_not_matched_are_no_finding(tmp_path, capsys):
    """Guards: a mix of groups that differs between members and non-members, which reads like a leak."""
    rng = np.random.default_rng(0)
    member = np.arange(400) < 200
    rare = np.where(member, np.arange(400) % 10 == 0, np.arange(400) % 2 == 0)
    logits = rng.normal(size=(400, 2)) + np.outer(np.where(rare, 0.0, 4.0), [1.0, 0.0])
    table = pd.DataFrame({"logit_a": logits[:, 0], "logit_b": logits[:, 1], "label": 0, "member": member})
    table.assign(group=np.where(rare, "rare", "common")).to_csv(tmp_path / "p.csv", index=False)
    audit = ["audit", str(tmp_path / "p.csv"), "--attacks", "threshold", "--resamples", "100", "--out"]
    cautions, verdicts, pages = [], [], []
    for name, more in (("given", []), ("matched", ["--match", "class,group"])):
        assert main([*audit, str(tmp_path / name), *more]) == 0
        cautions.append("add --match class,group" in capsys.readouterr().out)
        assert main(["report", str(tmp_path / name)]) == 0
        verdicts.append(json.loads((tmp_path / name / "statement.json").read_text())["verdict"][1])
        pages.append("Audit again with --match class,group" in (tmp_path / name / "model.html").read_text())
    assert cautions == pages == [True, False]
    assert verdicts[0].startswith("Attacks tell training examples from others, but this does not show that the model")
    assert verdicts[1].startswith("Overall, no attack told training examples from others")


def test_a_failed_negative_control_is_no_finding(run):
    model = OneModel.read(run.folder)
    attacks = {name: values | {"auc": 0.9} for name, values in model.result["attacks"].items()}
    for values in attacks.values():
        values["interval"] = values["interval"] | {"auc": [0.85, 0.95]}
    control = {"passed": False, "auc": dict.fromkeys(attacks, 0.8)}
    result = dict(model.result) | {"attacks": attacks, "null_check": {"matched": control}}
    statement = statement_of(OneModel(model.folder, "run", model.config, result, model.signals))
    assert "does not show that the model leaks (attacks on a classifier that never saw" in statement["verdict"][1]
    assert any("The negative control failed" in sentence for sentence in statement["evidence"]["strength"])


def test_the_gate_of_report_and_audit(run, tmp_path, capsys):
    command = ["report", str(run.folder), "--out", str(tmp_path / "page"), "--require"]
    assert main([*command, "epsilon<=8, accuracy>=0"]) == 0
    assert len(re.findall(r"^  holds ", capsys.readouterr().out, re.M)) == 2
    assert main([*command, "epsilon<=8, accuracy>=1"]) == 3
    out = capsys.readouterr().out
    assert re.search(r"^  fails +accuracy >= 1: 0\.\d+ \[", out, re.M)
    required = json.loads((tmp_path / "page" / "statement.json").read_text())["required"]
    assert [judgment["verdict"] for judgment in required] == ["holds", "fails"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "accurcy>=1"])
    assert ended.value.code == 2
    assert "did you mean 'accuracy'" in capsys.readouterr().err
    audit = ["audit", str(run.folder), "--resamples", "100", "--attacks", "threshold", "--require"]
    assert main([*audit, "epsilon<=8, auc<=1", "--out", str(tmp_path / "audit")]) == 0
    assert main([*audit, "auc<=0.2", "--out", str(tmp_path / "second")]) == 3
    assert "required:" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "audit"), "--require", "epsilon<=8"]) == 0  # the run's
    assert "holds        epsilon <= 8" in capsys.readouterr().out
    assert "differentially private" in (tmp_path / "audit" / "model.html").read_text()


def test_a_measure_from_outside_is_shown_wherever_results_are_but_not_released(run):
    result = dict(run.result) | {"measures": {"mine:<b>error": 0.1234}}
    plain = OneModel.read(run.folder)
    model = OneModel(run.folder, "run", plain.config, result, plain.signals)
    statement = statement_of(model)
    assert statement["measures"] == result["measures"]
    assert "<b>error 0.1234 mine:<b>error" in text_of(model, statement)
    assert "  <b>error           0.1234 (mine:<b>error, given members and non-members; no interval)" in describe_run(
        replace(run, result=result)
    )
    assert "0.1234" not in card("mine", plain.config, result)  # it sees the training images
    assert "Measures from outside" not in text_of(plain, statement_of(plain))


def test_a_run_whose_accuracy_may_be_that_of_guessing_says_so_everywhere(run, tmp_path, capsys):
    """Guards: a caution in an audit and none in the run.  These images say nothing about their classes."""
    assert run.result["no_better_than_chance"]
    better = dict(run.result) | {"no_better_than_chance": False}
    for result, cautioned in ((run.result, True), (better, False)):
        model = OneModel(run.folder, "run", OneModel.read(run.folder).config, result, OneModel.read(run.folder).signals)
        statement = statement_of(model)
        texts = describe_run(replace(run, result=result)), " ".join(statement["verdict"]), text_of(model, statement)
        assert ["no better than guessing" in text for text in texts] == [cautioned] * 3
        assert not any("same order" in text for text in texts)  # of labels: not where Trilemma trained the model
        assert "(test)" in texts[0]
    command = ["audit", str(run.folder), "--attacks", "threshold", "--resamples", "100", "--out", str(tmp_path / "a")]
    assert main(command) == 0
    assert "  negative control   passed: " in capsys.readouterr().out
    trained, audited = OneModel.read(run.folder), OneModel.read(tmp_path / "a")
    titles = [re.search("<h1>(.*)</h1>", page_of(model, statement_of(model)))[1] for model in (trained, audited)]
    assert titles[1] == f"Audit of {titles[0]}"
    assert json.loads((tmp_path / "a" / "audit.json").read_text())["no_better_than_chance"]


def test_a_negative_control_names_its_attacks_in_words(run):
    """Guards: "the attacks threshold and threshold-entropy", which are codes."""
    model = OneModel.read(run.folder)
    attacks = dict(model.result["attacks"])
    check = {"matched": {"passed": True, "auc": {"threshold": 0.5, "threshold-entropy": 0.5}}}
    result = dict(model.result) | {"null_check": check, "attacks": attacks | {"rf": attacks["threshold"]}}
    strength = " ".join(OneModel(model.folder, "run", model.config, result, model.signals).strength())
    assert "passed: the loss threshold and the entropy threshold on a classifier that never saw" in strength
    assert "threshold-entropy" not in strength


def test_rows_of_a_table_of_predictions_are_no_images_and_have_one_precision(run):
    """Guards: "test images" for rows that may be of anything, and "58 % and 56.46 %" in one sentence."""
    model = OneModel.read(run.folder)
    fairness = dict(model.result["fairness"]) | {"worst_group_accuracy": 0.5646}
    result = dict(model.result) | {"fairness": fairness}
    table = {key: value for key, value in result.items() if key != "privacy"} | {"members": 90, "nonmembers": 90}
    for kind, things, values in (("run", "images", result), ("audit", "examples", table)):
        page = OneModel(model.folder, kind, {} if kind == "audit" else model.config, values, model.signals)
        statement = statement_of(page)
        assert f" % of the test {things} correctly, and 56 % of those of the worst group" in statement["verdict"][2]
        assert f"{things} of class" in statement["verdict"][2]


def test_a_negative_control_that_is_missing_says_why(run):
    missing = {"null_check": {"matched": None, "naive": None}, "null_check_reason": "needs 50 members, has 30"}
    model = OneModel.read(run.folder)
    model = OneModel(run.folder, "run", model.config, dict(run.result) | missing, model.signals)
    strength = " ".join(statement_of(model)["evidence"]["strength"])
    assert "No negative control was made (it needs 50 members, has 30), so" in strength
    described = describe_run(replace(run, result=dict(model.result)))
    assert "  negative control   not made: needs 50 members, has 30" in described
    assert "  negative control   passed: no interval excludes ½" in describe_run(run)


@pytest.mark.parametrize("shift", [0, 1])
def test_an_audit_of_predictions_shows_its_accuracy_and_doubts_one_near_chance(tmp_path, capsys, shift):
    """Guards: labels that are numbered otherwise than the columns, with clean AUCs and no word of it."""
    labels = np.arange(400) % 4
    logits = np.random.default_rng(0).normal(size=(400, 4)) + 4 * np.eye(4)[(labels + shift) % 4]
    np.savez(tmp_path / "p.npz", logits=logits, labels=labels, member=np.arange(400) < 200)
    command = ["audit", str(tmp_path / "p.npz"), "--attacks", "threshold", "--resamples", "100"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    assert main(["report", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    (shown,) = re.findall(r"^accuracy +(\S+) \[.*\(non-members\)$", out, re.M)
    assert float(shown) == pytest.approx((logits.argmax(axis=1) == labels)[200:].mean(), abs=5e-4)
    pages = out, (tmp_path / "a" / "model.html").read_text()
    assert ["no better than guessing" in page for page in pages] == [shift == 1] * 2
    assert ["in the same order" in page for page in pages] == [shift == 1] * 2
    # The data have no groups: the classes are the cells, and the worst class is that of the gate, with its interval.
    statement = json.loads((tmp_path / "a" / "statement.json").read_text())
    assert [row["class"] for row in statement["classes"]] == list("0123")
    assert statement["classes"] == statement["cells"]
    audit = json.loads((tmp_path / "a" / "audit.json").read_text())
    described = "A classifier that is known by its predictions alone, for 200 examples"
    assert lead(OneModel.read(tmp_path / "a")).startswith(described)
    low, high = audit["worst_class"]["interval"]
    assert f"[{100 * low:.0f}, {100 * high:.0f}] of the 50 examples of class" in pages[1]


def test_a_pdf_without_its_extra_says_what_to_install(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(SystemExit) as ended:
        main(["report", str(run.folder), "--out", str(tmp_path), "--pdf"])
    assert ended.value.code == 2
    assert "pip install 'trilemma[pdf]'" in capsys.readouterr().err


def test_a_pdf_of_an_earlier_report_does_not_stay_beside_a_new_page(run, tmp_path):
    (tmp_path / "statement.pdf").write_bytes(b"%PDF of yesterday")
    write_model_page(OneModel.read(run.folder), tmp_path)
    assert not (tmp_path / "statement.pdf").exists()


def test_the_meanings_of_terms_are_printed_once(run, tmp_path):
    """Guards: a printer that knows no popovers, as WeasyPrint, and prints each of them as a box below the glossary."""
    page = write_model_page(OneModel.read(run.folder), tmp_path).read_text("utf-8")
    assert page.count("<div popover") > 5
    assert re.search(r"@media print \{.*\[popover\] \{ display: none; \}", page, re.DOTALL)


@pytest.mark.parametrize("field", ["privacy clipping_norm", "privacy noise_source", "course updates"])
def test_a_result_that_lacks_a_value_is_one_line_and_no_page(run, tmp_path, field):
    part, name = field.split()
    model = OneModel.read(run.folder)
    lacking_it = {key: value for key, value in model.result[part].items() if key != name}
    with pytest.raises(InputError, match=f"result.json.*{name}"):
        write_model_page(replace(model, result=model.result | {part: lacking_it}), tmp_path / "page")
    assert not (tmp_path / "page").exists()
