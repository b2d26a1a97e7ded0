"""What a study of a night needs is asked before its first trial."""

import re
import shutil
from types import SimpleNamespace

import pytest

from trilemma.errors import InputError
from trilemma.study import needs
from trilemma.study.estimate import estimate
from trilemma.study.file import load_study
from trilemma.study.trials import Study, expand
from trilemma.techniques import PAPER_TECHNIQUES as PAPER


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """A machine without data, and an empty cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRILEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("TRILEMMA_DATA", raising=False)
    monkeypatch.setattr(needs, "hub_installed", lambda: False)
    needs.examples_here.cache_clear()
    yield
    needs.examples_here.cache_clear()


@pytest.fixture(scope="module")
def whole() -> Study:
    """The study ``paper`` at the medium scale, as one."""
    parts = [expand(part, scale="medium") for part in load_study("paper")]
    trials = {trial.id: trial for part in parts for trial in part.trials}
    return Study("paper", "", "", "medium", parts[0].seeds, (), tuple(trials.values()))


def test_missing_data_is_named_with_the_places_that_were_searched(whole, tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError) as refused:
        needs.refuse_what_is_missing(whole.trials, str(tmp_path / "data"))
    text = str(refused.value)
    for name in ("celeba", "cifar10", "cifar100", "cifar100s", "cifar10s"):
        assert re.search(rf"\b{name} \(a folder", text)
    assert str(tmp_path / "data") in text
    assert "\n" not in text


def test_a_disk_without_room_for_the_maps_is_refused_with_how_much_they_take(whole, monkeypatch):
    monkeypatch.setattr(needs, "hub_installed", lambda: True)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(InputError, match=r"maps take (\d+\.\d) GiB more, and .* has 1\.0 GiB left") as refused:
        needs.refuse_what_is_missing(whole.trials, None)
    # 2 bytes x 96 channels: 95,000 + 95,000 maps of 9 x 9, and 182,732 of 10 x 10 for all of CelebA
    bytes_needed = 2 * 96 * (190_000 * 81 + 182_732 * 100)
    assert f"{bytes_needed / 2**30:.1f} GiB more" in str(refused.value)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**40))
    needs.refuse_what_is_missing(whole.trials, None)


def test_images_that_data_sets_share_are_counted_once():
    plain, skewed, other = (("name", "cifar10"),), (("name", "cifar10s"), ("skew", 0.75)), (("name", "cifar10s"),)
    assert needs.map_images([plain]) == {(3, 32, 32): 60_000}
    assert needs.map_images([plain, skewed, other]) == {(3, 32, 32): 95_000}
    assert needs.map_images([(("limit", 100), ("name", "celeba"), ("size", 64), ("test_limit", 50))]) == {
        (3, 64, 64): 150
    }


def test_a_scale_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"no scale 'large'.*it has small, medium, paper"):
        expand(load_study("techniques")[0], scale="large")


def test_a_claim_rests_on_five_seeds_at_the_medium_scale(whole):
    """BL against all techniques, with and without a budget, and skews at both ends of the budget."""
    seeds = {}
    for trial in whole.trials:
        data = dict(trial.data)
        if data["name"] in ("cifar10", "cifar10s") and trial.recipe.techniques in ((), tuple(PAPER)):
            seeds.setdefault((trial.removal is None, trial.condition), set()).add(trial.recipe.seed)
    assert max(map(len, seeds.values())) == 5
    assert min(map(len, seeds.values())) >= 3
    assert all(dict(trial.data).get("limit") is None for trial in whole.trials)


def test_the_estimate_knows_maps(whole, monkeypatch):
    """The parts are updates, evaluations, attacks and maps; at a millisecond each, only counting is left."""
    monkeypatch.setattr("trilemma.study.estimate._seconds_a_view", lambda *_: (1e-3, 0.0))
    first = next(t for t in whole.trials if dict(t.data)["name"] == "cifar10" and t.recipe.techniques == ())
    first_study = estimate(Study("one", "", "", "medium", (0,), (), (first,)))
    updates, attacks, maps = 10 * 50_000 * 1e-3, 60_000 * 1.5e-3, 80 + 60_000 * 0.008
    assert first_study.seconds == pytest.approx(updates + attacks + maps)
