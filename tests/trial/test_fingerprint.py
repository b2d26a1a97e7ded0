"""The digest of the data: kept beside the run, needed to go on with it, and in nothing that is released."""

import json
import os

import pytest

import trilemma as tl
from trilemma.errors import InputError
from trilemma.study import job
from trilemma.training.execution import Execution
from trilemma.trial.fingerprint import FINGERPRINT, read_fingerprint, write_fingerprint
from trilemma.trial.progress import Stopped
from trilemma.trial.run import withdraw_epsilon

CPU = Execution("cpu", None, "float32")
RECIPE = tl.Recipe(model="convnet-4", epsilon=8.0, batch_size=20, epochs=1.0, norm_groups=2, evaluations=1)


@pytest.fixture(scope="module")
def data():
    return tl.load_data("digits", limit=60, test_limit=40)


@pytest.fixture(scope="module")
def other():
    return tl.load_data("digits", limit=60, test_limit=40, seed=1)


@pytest.fixture
def stopped(data, tmp_path):
    with pytest.raises(Stopped):
        tl.train(RECIPE, data, tmp_path / "run", execution=CPU, should_stop=lambda: True)
    return tmp_path / "run"


def test_no_file_but_its_own_holds_a_digest_of_the_data(data, tmp_path):
    run = tl.train(RECIPE, data, tmp_path / "run", execution=CPU)
    digests = {data.fingerprint, data.train.fingerprint, data.test.fingerprint}
    holding = {
        path.name
        for path in run.folder.iterdir()
        if any(digest.encode() in path.read_bytes() or bytes.fromhex(digest) in path.read_bytes() for digest in digests)
    }
    assert holding == {FINGERPRINT}
    assert (run.folder / FINGERPRINT).stat().st_mode & 0o777 == 0o600
    assert "Not for release" in (run.folder / FINGERPRINT).read_text()
    assert tl.train(RECIPE, data, run.folder, execution=CPU).result == run.result


def test_what_says_something_of_single_examples_can_be_read_by_its_owner_alone(data, tmp_path):
    """Guards: losses of single members, on a disk that others read."""
    before = os.umask(0)
    try:
        run = tl.train(RECIPE, data, tmp_path / "run", execution=CPU, track=[3])
        withdraw_epsilon(run.folder / "history.jsonl")
        job._write_images(tmp_path / "examples", data, [3])
    finally:
        os.umask(before)
    owners = {path.name for path in run.folder.iterdir() if path.stat().st_mode & 0o777 == 0o600}
    assert owners == {"signals.parquet", "history.jsonl", FINGERPRINT}
    assert (tmp_path / "examples" / "3.png").stat().st_mode & 0o777 == 0o600


def test_a_run_goes_on_with_the_same_data_only(stopped, data, other):
    with pytest.raises(InputError, match=r"holds a run with other data: .*choose another --out"):
        tl.train(RECIPE, other, stopped, execution=CPU)
    assert any("went on" in note for note in tl.train(RECIPE, data, stopped, execution=CPU).notes)
    with pytest.raises(InputError, match="other data"):
        tl.train(RECIPE, other, stopped, execution=CPU)


def test_without_the_digest_a_run_is_read_but_not_continued(stopped, data):
    content = (stopped / FINGERPRINT).read_bytes()
    (stopped / FINGERPRINT).unlink()
    with pytest.raises(InputError, match=f"but no {FINGERPRINT}, without which"):
        tl.train(RECIPE, data, stopped, execution=CPU)
    for wrong, says in (("[]", "holds no JSON object"), ('{"fingerprint": 1}', "holds no fingerprint")):
        (stopped / FINGERPRINT).write_text(wrong)
        with pytest.raises(InputError, match=says):
            tl.train(RECIPE, data, stopped, execution=CPU)
    (stopped / FINGERPRINT).write_bytes(content)
    tl.train(RECIPE, data, stopped, execution=CPU)
    (stopped / FINGERPRINT).unlink()
    assert tl.Run.load(stopped).recipe == RECIPE
    with pytest.raises(InputError, match=f"but no {FINGERPRINT}"):
        tl.train(RECIPE, data, stopped, execution=CPU)


def test_finished_runs_of_earlier_versions_are_found_by_their_digest(data, other, tmp_path):
    """Earlier versions kept the digest in ``config.json``; an unfinished run of theirs is refused as such."""
    folder = tl.train(RECIPE, data, tmp_path / "run", execution=CPU).folder
    (folder / FINGERPRINT).unlink()
    config = json.loads((folder / "config.json").read_text())
    config["data"]["fingerprint"] = data.fingerprint
    (folder / "config.json").write_text(json.dumps(config))
    result = json.loads((folder / "result.json").read_text())
    del result["checksums"]
    (folder / "result.json").write_text(json.dumps(result))
    assert read_fingerprint(folder, config) == data.fingerprint
    with pytest.raises(InputError, match="other data"):
        tl.train(RECIPE, other, folder, execution=CPU)
    assert tl.train(RECIPE, data, folder, execution=CPU).recipe == RECIPE


def test_a_process_killed_before_config_json_was_written_leaves_nothing_in_the_way(data, tmp_path):
    write_fingerprint(tmp_path, data.fingerprint)
    (tmp_path / "config.json.part").write_text("{")
    tl.train(RECIPE, data, tmp_path, execution=CPU)


def test_the_file_is_never_readable_by_others_whatever_lies_there(tmp_path):
    (tmp_path / f"{FINGERPRINT}.part").write_text("of a process that was killed")
    (tmp_path / f"{FINGERPRINT}.part").chmod(0o666)
    mask = os.umask(0)
    try:
        write_fingerprint(tmp_path, "ab")
    finally:
        os.umask(mask)
    assert (tmp_path / FINGERPRINT).stat().st_mode & 0o777 == 0o600
    assert read_fingerprint(tmp_path, {}) == "ab"
