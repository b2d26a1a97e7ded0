"""Malformed inputs end every command with one refusal that names the file, and leave nothing behind."""

import json
import re
import shutil
import time

import numpy as np
import pytest

from malformed import (
    HEADERS,
    MOST_LINES,
    Valid,
    bad_columns,
    bad_data_arrays,
    bad_prediction_arrays,
    cases,
    complaints,
    data_arrays,
    make_valid,
    npy_header,
    npz,
    prediction_arrays,
    run,
    table_with,
)

GENERATED = 80
BUDGET = 96.0
"""Seconds of processor time for all of them."""


@pytest.fixture(scope="module")
def valid(tmp_path_factory, finished):
    """Valid inputs of every kind, and a copy of a finished study."""
    place = tmp_path_factory.mktemp("malformed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRILEMMA_CACHE", str(place / "cache"))
        patch.chdir(place)
        shutil.copytree(finished.path, place / "study")
        yield Valid(make_valid(place / "valid").root, place / "study")


@pytest.mark.parametrize("name", ["arrays.npz", "classes", "listed", "lines", "tables", "table.parquet"])
def test_what_is_damaged_was_valid(valid, tmp_path, name):
    """Otherwise every damage would be refused for another reason than itself."""
    ending = run(
        tuple(map(str, train(valid.root / name, "--recipe", valid.recipe, "--device", "cpu"))), tmp_path / "out"
    )
    assert ending.status == 130, ending.said


def test_generated_inputs_are_refused_as_they_should_be(valid, tmp_path):
    wrong, refused, began = [], 0, time.process_time()
    for case in cases(valid, GENERATED, seed=1):
        ending, problems = complaints(case, tmp_path / "out")
        wrong += problems
        refused += ending.status == 2
    assert not wrong, "\n\n".join(wrong)
    assert refused > 0.6 * GENERATED, "most cases should be malformed"
    assert time.process_time() - began < BUDGET


def test_the_check_of_a_case_can_fail(valid, tmp_path, monkeypatch):
    """An exception, a long message, a message about nothing and a file left behind are each seen."""
    import trilemma.cli.main as main
    from trilemma.errors import InputError

    def broken(example):
        raise ValueError("a bug")

    def vague(example):
        raise InputError("something is wrong")

    def littering(example):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "config.json").write_text("{}")
        raise InputError(f"{example.data} is wrong")

    case = next(case for case in cases(valid, 1, seed=0))
    for command, complaint in (
        (broken, "an exception"),
        (vague, "does not name"),
        (littering, "changed .*config.json"),
    ):
        monkeypatch.setitem(main.COMMANDS, "train", command)
        _, wrong = complaints(case, tmp_path / "out")
        assert any(re.search(complaint, text) for text in wrong), (complaint, wrong)


# --- by hand ----------------------------------------------------------------------------------------------------------

WORDS = {
    "classes": "name",
    "images": "image",
    "image": "image|picture",
    "labels": "label|class",
    "label": "label|class",
    "groups": "group",
    "weights": "weight|count",
    "logits": "logits|row of the outputs",
}
"""What a refusal may call an array or a column."""


def refusal(command, out, *expected):
    """The command is refused in a few lines that match all of ``expected``, and leaves nothing."""
    ending = run(tuple(map(str, command)), out)
    assert ending.status == 2, ending.said
    assert 1 <= len(ending.said.strip().splitlines()) <= MOST_LINES
    assert "Traceback" not in ending.said
    for words in expected:
        assert re.search(words, ending.said), (words, ending.said)
    assert not out.exists()


def train(data, *more):
    return ("train", "--data", data, "--model", "convnet-4", "--batch-size", 4, "--minutes", "1e-9", *more)


@pytest.mark.parametrize("number", range(len(bad_data_arrays())))
def test_malformed_arrays_of_data_are_refused(tmp_path, number):
    name, make = bad_data_arrays()[number]
    (tmp_path / "mine.npz").write_bytes(npz(data_arrays(np.random.default_rng(0)) | {name: make()}))
    refusal(train(tmp_path / "mine.npz"), tmp_path / "out", r"mine\.npz", WORDS.get(name, name))


@pytest.mark.parametrize("header", HEADERS)
def test_malformed_headers_of_arrays_are_refused(tmp_path, header):
    content = npz(data_arrays(np.random.default_rng(0)) | {"images": npy_header(header)})
    (tmp_path / "mine.npz").write_bytes(content)
    refusal(train(tmp_path / "mine.npz"), tmp_path / "out", r"mine\.npz", "images")


@pytest.mark.parametrize("number", range(len(bad_prediction_arrays())))
def test_malformed_arrays_of_predictions_are_refused(tmp_path, number):
    name, make = bad_prediction_arrays()[number]
    (tmp_path / "theirs.npz").write_bytes(npz(prediction_arrays(np.random.default_rng(0)) | {name: make()}))
    refusal(
        ("audit", tmp_path / "theirs.npz"),
        tmp_path / "out",
        r"theirs\.npz",
        WORDS.get(name, name),
    )


@pytest.mark.parametrize("number", range(len(bad_columns())))
def test_malformed_columns_of_tables_are_refused(tmp_path, number):
    name, make = bad_columns()[number]
    (tmp_path / "x.parquet").write_bytes(table_with(name, make()))
    refusal(train(tmp_path / "x.parquet"), tmp_path / "out", r"x\.parquet", WORDS.get(name, name))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lists no images"),
        ("file_name,label\n", "lists no images"),
        ("label\na\n", "has no column 'file_name'"),
        ("file_name\n0.png\n", "no label column"),
        ("file_name,label\n0.png,a\n1.png\n", "no label in row 1"),
        ("file_name,label\n0.png,a\n1.png,b,c\n", "line 3 has more fields"),
        ("file_name,label\n0.png,a\n0.png,b\n", "is also in row 0"),
        ("file_name,label\n0.png,a\n9.png,b\n", "row 1: file_name '9.png' does not exist"),
        ("file_name,label\n0.png,a\n../0.png,b\n", "row 1: .*points outside"),
        ("file_name,label,label\n0.png,a,b\n", "more than one column 'label'"),
        ("file_name,label,split\n0.png,a,train\n1.png,b,soon\n", "split 'soon' in row 1"),
        ("file_name,label,group,split\n0.png,a,x,train\n1.png,b,,train\n0000.png,a,x,test\n", "no group in row 1"),
        ("file_name,label\n0.png,a\n1.png,a\n", "only one class"),
        ('file_name,label\n0.png,"a\n', "is not CSV"),
    ],
)
def test_malformed_metadata_are_refused(valid, tmp_path, text, expected):
    shutil.copytree(valid.root / "classes/train/a", tmp_path / "m")
    (tmp_path / "m/2.png").rename(tmp_path / "m/1.png")
    (tmp_path / "m/4.png").rename(tmp_path / "m/0000.png")
    (tmp_path / "m/metadata.csv").write_text(text)
    refusal(train(tmp_path / "m"), tmp_path / "out", r"metadata\.csv|/m\b", expected)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("bach_size = 4", "unknown recipe key 'bach_size'.*batch_size"),
        ('batch_size = "4"', "'batch_size' must be"),
        ("batch_size = -4", "batch_size must be at least 0"),
        ("batch_size = 4.5", "'batch_size' must be"),
        ("learning_rate = 0", "learning_rate must be more than 0"),
        ("learning_rate = nan", "learning_rate must be more than 0"),
        ("epochs = inf", "epochs must be more than 0"),
        ("epsilon = true", "epsilon"),
        ("delta = 1e-5", "delta without epsilon"),
        ('techniques = ["gn", "zz"]', "unknown technique 'zz'"),
        ('schedule = "spiral"', "schedule must be"),
        ("with_budget = 3", "with_budget"),
        ('data = "digits"', "data in the recipe"),
        ("= 3", "not valid TOML"),
        ("a = [", "not valid TOML"),
        ("seed = 1979-05-27", "'seed' must be"),
        ("views = 0", "views must be at least 1"),
    ],
)
def test_malformed_recipes_are_refused(tmp_path, lines, expected):
    (tmp_path / "mine.toml").write_text(lines)
    command = ("train", "--data", "digits", "--limit", 50, "--recipe", tmp_path / "mine.toml", "--minutes", "1e-9")
    refusal(command, tmp_path / "out", r"mine\.toml", expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "grid"),
        ("grid = 3", "grid"),
        ("[[grid]]\n", "no data"),
        ('[[grid]]\ndata = "digits"\nbudget = 3\n', "budget"),
        ("[[grid]]\ndata = {skew = 0.9}\n", "data"),
        ("[[grid]]\ndata = []\n", "empty"),
        ('seeds = "many"\n[[grid]]\ndata = "digits"\n', "seeds"),
        ('[[grid]]\ndata = "digits"\nepsilon = ["some"]\n', "epsilon"),
        ('[[grid]]\ndata = "digits"\ntechniques = 3\n', "techniques"),
        ('[[grid]]\ndata = "digits"\nset = {seed = 3}\n', "seed"),
        ('[[grid]]\ndata = "digits"\nset = {bach_size = 3}\n', "bach_size"),
        ('[[grid]]\ndata = "digits"\nrecipe = "nope"\n', "no recipe 'nope'"),
        ('figures = ["nope"]\n[[grid]]\ndata = "digits"\nrecipe = "digits"\n', "nope"),
        ('parts = ["mine.toml"]\n', "part of itself"),
        ('[[grid]]\ndata = "digits"\nrecipe = "digits"\nremoval = {shares = [2]}\n', "shares"),
        ("[[grid]", "not valid TOML"),
    ],
)
def test_malformed_studies_are_refused(tmp_path, text, expected):
    (tmp_path / "mine.toml").write_text(text)
    refusal(("study", tmp_path / "mine.toml"), tmp_path / "out", "mine", expected)


@pytest.mark.parametrize("name", ["config.json", "result.json", "fingerprint.private.json"])
@pytest.mark.parametrize("content", ["[]", "{}", "null", "", '{"recipe": []}', '{"recipe": {"epochs": "x"}}', "\xff"])
def test_a_damaged_file_of_a_run_is_refused(valid, tmp_path, name, content):
    """Run the same command on its own run, in which a file is damaged."""
    shutil.copytree(valid.root / "run", tmp_path / "run")
    (tmp_path / "run" / name).write_text(content, "latin-1")
    digits = ("--data", "digits", "--limit", "100", "--test-limit", "50")
    ending = run(("train", *digits, "--recipe", str(valid.recipe)), tmp_path / "run")
    assert ending.status == 2, ending.said
    assert len(ending.said.strip().splitlines()) <= MOST_LINES
    assert re.search(f"{re.escape(name)}|{re.escape(str(tmp_path / 'run'))}", ending.said)


@pytest.mark.parametrize(
    "content", ["[]", '{"data": 3}', '{"data": {}}', '{"data": {"groups": 3}}', '{"data": {"groups": [3]}}', ""]
)
def test_an_audit_of_a_damaged_run_is_refused(valid, tmp_path, content):
    shutil.copytree(valid.root / "run", tmp_path / "run")
    (tmp_path / "run/config.json").write_text(content)
    refusal(("audit", tmp_path / "run"), tmp_path / "out", r"config\.json")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 99}, "format 99"),
        ({"studies": []}, "something other than what this version writes"),
        ({"trials": {"x": {}}}, "trial"),
        ({"trials": 3}, "something other"),
        ({"version": None}, ""),
        ({"studies": {"a": {"trials": []}}}, "something other"),
    ],
)
def test_a_report_of_a_damaged_study_is_refused(valid, tmp_path, change, expected):
    path = valid.study / "study.json"
    content = path.read_text()
    path.write_text(json.dumps(json.loads(content) | change))
    try:
        if change == {"version": None}:  # is only printed
            assert run(("report", str(valid.study)), tmp_path / "out").status == 0
        else:
            refusal(("report", valid.study), tmp_path / "out", r"study\.json", expected)
    finally:
        path.write_text(content)


def test_data_tells_what_it_cannot_read_and_lists_the_rest(tmp_path, capsys):
    """A listing is no reason to refuse: a set that cannot be read is said to be so, in one line."""
    from trilemma.cli.main import main

    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10/train-00000-of-00001.parquet").write_bytes(b"broken")
    (tmp_path / "cifar-100-binary").mkdir()
    (tmp_path / "cifar-100-binary/train.bin").write_bytes(b"")
    assert main(["data", "--data-dir", str(tmp_path)]) == 0
    listing = capsys.readouterr().out
    assert "train-00000-of-00001.parquet cannot be read as Parquet" in listing
    assert "celeba" in listing
    with pytest.raises(SystemExit, match="2"):
        main(["data", "--data-dir", str(tmp_path / "nowhere")])
    assert "nowhere, which is not a folder" in capsys.readouterr().err
