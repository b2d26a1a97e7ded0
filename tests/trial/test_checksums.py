"""A flipped bit in any file of a run or an audit is found when it is read, and said in one line."""

import json
import random
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as serialized

from trilemma.checksums import KEY, check, read_sealed, write_sealed
from trilemma.cli.main import main
from trilemma.errors import InputError
from trilemma.study.folder import StudyFolder
from trilemma.study.runner import progress_of
from trilemma.training.learned import FACTS
from trilemma.trial.model import load_model
from trilemma.trial.run import SEALED, Run
from trilemma.trial.weights import metadata_with_digest, read_weights

FILES = ("config.json", "history.jsonl", "model.safetensors", "signals.parquet", "result.json")


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """A copy of a finished run, to be damaged."""
    source = next(path for path in sorted((finished.path / "runs").iterdir()) if (path / "result.json").is_file())
    return shutil.copytree(source, tmp_path_factory.mktemp("checksums") / "run")


class Flipped:
    """A file in which one bit is flipped."""

    def __init__(self, path, place):
        self.path, self.valid = path, path.read_bytes()
        self.damaged = bytearray(self.valid)
        place %= 8 * len(self.valid)
        self.damaged[place // 8] ^= 1 << place % 8

    def __enter__(self):
        self.path.write_bytes(self.damaged)

    def __exit__(self, *_):
        self.path.write_bytes(self.valid)


def test_every_file_is_sealed_but_the_fingerprint_and_the_card_which_people_edit(run):
    written = {path.name for path in run.iterdir() if not path.name.startswith(".")}
    sealed = set(json.loads((run / "result.json").read_text())[KEY])
    assert sealed == written - {"fingerprint.private.json", "README.md"} == set(FILES)
    assert set(FILES) == {*SEALED, "result.json"}
    assert Run.load(run).result[KEY]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(FILES), st.integers(0, 2**40))
def test_a_flipped_bit_anywhere_is_found(run, name, place):
    with Flipped(run / name, place), pytest.raises(InputError, match=name) as caught:
        Run.load(run)
    assert "\n" not in str(caught.value)
    Run.load(run)


@pytest.fixture(scope="module")
def released(run, tmp_path_factory):
    """What is given away of a run: no checksums of ``result.json`` go with it."""
    folder = tmp_path_factory.mktemp("released")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(run / name, folder / name)
    return folder


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**40))
def test_a_flipped_bit_in_released_weights_is_found(released, place):
    with (
        Flipped(released / "model.safetensors", place),
        pytest.raises(InputError, match=r"model\.safetensors") as caught,
    ):
        load_model(released)
    assert "\n" not in str(caught.value)


def test_released_weights_and_what_is_said_of_them_belong_together(released):
    """A larger epsilon's statement beside the weights of a smaller one, or one number changed, in a file that is
    otherwise whole."""
    path = released / "model.safetensors"
    valid = path.read_bytes()
    values, weights = read_weights(path)
    metadata = metadata_with_digest(values, weights)
    name = next(iter(weights))
    for changed in (values | {"model": "another"}, values):
        other = weights if changed is not values else weights | {name: weights[name] + 1}
        path.write_bytes(serialized(other, {FACTS: json.dumps(json.loads(metadata[FACTS]) | changed)}))
        with pytest.raises(InputError, match="damaged"):
            load_model(released)
    path.write_bytes(valid)
    load_model(released)


def test_bits_of_the_seal_itself(run):
    """The checksums' own key, names, and digests, of which a damaged one could pass for a run of an earlier version."""
    path = run / "result.json"
    start = path.read_bytes().index(b'"checksums"')
    for place in random.Random(0).sample(range(8 * start, 8 * path.stat().st_size), 300):
        with Flipped(path, place), pytest.raises(InputError):
            read_sealed(path)


@pytest.mark.parametrize("name", FILES)
def test_commands_end_with_one_line(run, tmp_path, capsys, name):
    """An audit makes the check; the same check stands before a report and a study that goes on."""
    with Flipped(run / name, random.Random(name).randrange(2**40)), pytest.raises(SystemExit, match="2"):
        main(["audit", str(run), "--resamples", "100", "--attacks", "threshold", "--out", str(tmp_path / "out")])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert name in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_study_goes_on_and_reports_only_from_what_was_written(finished, tmp_path, capsys, name):
    study = StudyFolder(shutil.copytree(finished.path, tmp_path / "study"))
    trials = study.trials()
    damaged = study.run(next(iter(trials))) / name
    with Flipped(damaged, random.Random(name).randrange(2**40)):
        with pytest.raises(InputError, match=name):
            progress_of(study, trials.values())
        with pytest.raises(SystemExit, match="2"):
            main(["report", str(study.path), "--out", str(tmp_path / "page")])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert name in line


def test_an_audit_is_sealed(run, tmp_path):
    out = tmp_path / "audit"
    assert main(["audit", str(run), "--resamples", "100", "--attacks", "threshold", "--out", str(out)]) == 0
    names = {"audit.json", "signals.parquet", "attacks.csv"}
    assert set(check(out / "audit.json")[KEY]) == names
    for name in sorted(names):
        with Flipped(out / name, 5_000), pytest.raises(InputError, match=name):
            check(out / "audit.json")


def test_runs_of_earlier_versions_have_no_checksums_and_are_read(run, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    values = json.loads((old / "result.json").read_text())
    del values[KEY]
    (old / "result.json").write_text(json.dumps(values, indent=2))
    assert Run.load(old).result == values


def test_a_result_without_its_parts_is_damaged_and_of_no_earlier_version(run, tmp_path):
    path = shutil.copytree(run, tmp_path / "run") / "result.json"
    path.write_text("{}")
    with pytest.raises(InputError, match=r"result\.json holds something other than what this version writes.*accuracy"):
        Run.load(path.parent)


def test_a_file_that_was_taken_away_is_no_damage(run, tmp_path):
    """A report does not read the weights, which are large, so a run without them can still be loaded."""
    lean = shutil.copytree(run, tmp_path / "lean")
    (lean / "model.safetensors").unlink()
    assert Run.load(lean).result == Run.load(run).result


def test_what_is_sealed_is_what_was_given(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    written = write_sealed(tmp_path / "x.json", {"a": 1}, ["a", "b"])
    assert read_sealed(tmp_path / "x.json") == check(tmp_path / "x.json") == written
    assert written[KEY]["a"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # NIST's example
    assert set(written) == {"a", KEY}
    assert set(written[KEY]) == {"a", "x.json"}
    for name in ("a", "x.json"):
        for place in range(0, 8 * (tmp_path / name).stat().st_size, 5):
            with Flipped(tmp_path / name, place), pytest.raises(InputError, match=name):
                check(tmp_path / "x.json")
