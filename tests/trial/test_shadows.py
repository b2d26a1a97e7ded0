"""Shadows of a run: what they share with it, what they may not share, how they are kept, and what is refused."""

import json
import shutil
import stat
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

import trilemma as tl
from trilemma.errors import InputError
from trilemma.trial import shadows
from trilemma.trial.audited import choose_audited
from trilemma.trial.progress import Stopped
from trilemma.trial.run import SHADOWS, Run
from trilemma.trial.shadows import (
    OUTPUTS,
    SHADOW,
    Target,
    finished_shadows,
    shadow_predictions,
    target_outputs,
    train_shadow,
)


@pytest.fixture
def copied(shadowed, tmp_path):
    """A copy of target and shadows in a folder that tests may write to."""
    shutil.copytree(shadowed.run.folder, tmp_path / "run")
    return Target(Run.load(tmp_path / "run"), shadowed.data, shadowed.audited)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A target without a budget and without shadows."""
    data = tl.load_data("digits-s", skew=0.8, limit=150, test_limit=150)
    recipe = tl.Recipe(model="convnet-4", batch_size=50, epochs=3, evaluations=1, norm_groups=2)
    run = tl.train(recipe, data, tmp_path_factory.mktemp("plain") / "run")
    return Target(run, data, choose_audited(data, 60, 0))


def about(target, shadow):
    return json.loads((target.shadow_folder(shadow) / SHADOW).read_text())


def test_shadows_differ_from_their_target_in_seed_and_members_alone(shadowed):
    descriptions = [about(shadowed, shadow) for shadow in range(4)]
    own = shadowed.run.recipe.to_dict()
    for entry in descriptions:
        assert {key for key, value in entry["recipe"].items() if value != own[key]} == {"seed"}
        assert entry["examples"] == len(shadowed.data.train)
        for key in ("batch_size", "updates"):
            assert entry[key] == shadowed.run.result["course"][key]
        assert entry["noise_multiplier"] == shadowed.run.result["privacy"]["noise_multiplier"]
    assert len({entry["recipe"]["seed"] for entry in descriptions} | {own["seed"]}) == 5
    assert len({entry["members"] for entry in descriptions}) == 4


def test_no_two_models_share_their_noise(shadowed):
    digests = [about(shadowed, shadow)["noise_key_digest"] for shadow in range(4)]
    digests.append(shadowed.run.result["privacy"]["noise_key_digest"])
    known = [digest for digest in digests if digest is not None]  # secret noise has none
    assert len(set(known)) == len(known)
    assert len({(shadowed.shadow_folder(shadow) / OUTPUTS).read_bytes() for shadow in range(4)}) == 4


def test_shadows_of_secret_noise_draw_secret_noise(shadowed):
    for secret in (True, False):
        run = replace(shadowed.run, recipe=replace(shadowed.run.recipe, secret_noise=secret))
        assert replace(shadowed, run=run).shadow_recipe(1).secret_noise is secret


def test_the_targets_outputs_are_those_of_its_run(shadowed):
    table = pq.read_table(shadowed.run.folder / "signals.parquet")
    logits = np.stack(table["logits"].to_numpy())
    rows = np.concatenate([shadowed.audited.members, len(shadowed.data.train) + shadowed.audited.nonmembers])
    np.testing.assert_allclose(target_outputs(shadowed), logits[rows], atol=1e-4)


def test_an_audit_reads_target_and_shadows(shadowed):
    predictions = shadow_predictions(shadowed, target_outputs(shadowed), 4)
    assert predictions.reference_logits.shape == (4, 120, 10)
    np.testing.assert_array_equal(predictions.reference_member.sum(axis=0), 2)
    result = tl.audit(predictions, resamples=50)
    assert result.headline == "rmia"
    assert set(result.attacks) >= {"rmia", "rmia-offline", "lira", "lira-offline"}
    two = tl.audit(shadow_predictions(shadowed, target_outputs(shadowed), 2), resamples=50)
    assert set(two.attacks) & {"rmia", "lira"} == {"rmia"}


def test_nothing_lies_where_others_can_read_it_and_no_checkpoint_stays(shadowed):
    mode = (shadowed.run.folder / SHADOWS).stat().st_mode
    assert not mode & (stat.S_IRWXG | stat.S_IRWXO)
    assert f"{SHADOWS}/" in (shadowed.run.folder / ".gitignore").read_text().splitlines()
    assert {path.name for path in shadowed.shadow_folder(0).iterdir()} == {SHADOW, OUTPUTS, ".lock"}


def test_shadows_are_reused_and_others_are_not(shadowed):
    assert train_shadow(shadowed, 2) == 0.0
    assert finished_shadows(shadowed, 6) == [0, 1, 2, 3]
    other = replace(shadowed, audited=choose_audited(shadowed.data, 100, 0))
    assert finished_shadows(other, 6) == []
    recipe = replace(shadowed.run.recipe, learning_rate=0.2)
    assert finished_shadows(replace(shadowed, run=replace(shadowed.run, recipe=recipe)), 6) == []


def test_a_shadow_that_was_stopped_goes_on_to_the_same_outputs(plain):
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        train_shadow(plain, 0, should_stop=lambda: next(asked, True))
    assert (plain.shadow_folder(0) / "checkpoint.safetensors").exists()
    updates = []
    train_shadow(plain, 0, progress=lambda what, done, total: updates.append(done))
    assert updates[0] > 1  # it went on
    resumed = (plain.shadow_folder(0) / OUTPUTS).read_bytes()
    shutil.rmtree(plain.shadow_folder(0))
    train_shadow(plain, 0)
    assert (plain.shadow_folder(0) / OUTPUTS).read_bytes() == resumed


def test_no_key_of_noise_stays_where_a_shadow_is_killed_at_its_end(plain, monkeypatch):
    folder = plain.shadow_folder(1)

    def killed(path, document):
        assert not list(folder.glob("checkpoint*"))  # a shadow counts as finished from this file on
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shadows, "CHECKPOINT_SECONDS", -1.0)  # one after each update
        patch.setattr(shadows, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            train_shadow(plain, 1)
    outputs = (folder / OUTPUTS).read_bytes()
    assert finished_shadows(plain, 2) in ([], [0])
    assert train_shadow(plain, 1) > 0  # anew
    assert (folder / OUTPUTS).read_bytes() == outputs
    for read in (lambda: train_shadow(plain, 1), lambda: shadows._read(plain, 1, (60, 10))):
        (folder / "checkpoint.safetensors").write_bytes(b"of an earlier version")
        read()
        assert not list(folder.glob("checkpoint*"))


@pytest.mark.parametrize(
    ("key", "value"),
    [("recipe", {"model": "convnet-8"}), ("data", "0" * 64), ("examples", 199), ("members", "0" * 64), ("updates", 1)],
)
def test_a_shadow_that_differs_in_anything_else_is_refused(copied, key, value):
    path = copied.shadow_folder(3) / SHADOW
    path.write_text(json.dumps(about(copied, 3) | {key: value}))
    with pytest.raises(InputError, match=f"differs from its target in {key}: delete"):
        shadow_predictions(copied, target_outputs(copied), 4)


def test_damaged_outputs_and_shared_noise_are_refused(copied):
    outputs = target_outputs(copied)
    digest = about(copied, 0)["noise_key_digest"] or "0" * 64
    for shadow in (0, 1):
        path = copied.shadow_folder(shadow) / SHADOW
        path.write_text(json.dumps(about(copied, shadow) | {"noise_key_digest": digest}))
    with pytest.raises(InputError, match="share their noise"):
        shadow_predictions(copied, outputs, 4)
    path = copied.shadow_folder(0) / OUTPUTS
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(InputError, match="its digest is not"):
        shadow_predictions(copied, outputs, 4)


def test_other_data_and_networks_from_outside_are_refused(copied):
    with pytest.raises(InputError, match="was not trained on these data"):
        Target(copied.run, tl.load_data("digits-s", skew=0.8, limit=199, test_limit=200), copied.audited)
    path = copied.run.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"network": "given: Net 1234"}))
    with pytest.raises(InputError, match="a module that was given in Python"):
        replace(copied)


def test_a_batch_that_obs_chose_without_a_budget_is_taken_as_it_is(plain):
    recipe = replace(plain.run.recipe, techniques=("obs",), learning_rate=0.1)
    result = plain.run.result | {"course": {"batch_size": 100, "learning_rate": 0.2, "updates": 5}}
    target = replace(plain, run=replace(plain.run, recipe=recipe, result=result))
    assert (target.recipe.batch_size, target.recipe.learning_rate, target.recipe.techniques) == (100, 0.2, ())


def test_mirror_images_are_read_where_the_training_drew_them(plain):
    assert not plain.mirrored  # no augmentation, and digits are not mirrored
    for techniques, flips, expected in ((("am",), True, True), (("am",), False, False), ((), True, False)):
        run = replace(plain.run, recipe=replace(plain.run.recipe, techniques=techniques, flips=flips))
        assert replace(plain, run=run).mirrored is expected
