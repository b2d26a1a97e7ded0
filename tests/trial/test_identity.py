"""A folder whose ``config.json`` is damaged is refused in one line, whatever the damage is."""

import json
from dataclasses import replace

import pytest

import trilemma as tl
from trilemma.cli.audit import run_predictions
from trilemma.errors import InputError
from trilemma.report.evidence import OneModel
from trilemma.trial.identity import config_of, holds_finished_run


@pytest.mark.parametrize("text", ["[]", "null", "5", '"recipe"', "{", "", "\udcff", "[" * 5000, "{}", '{"recipe": []}'])
def test_a_damaged_config_is_refused_before_anything_is_trained(tmp_path, text):
    """Guards: AttributeError for a config that is a list (a case from outside)."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    data = tl.load_data("digits", limit=60, test_limit=60)
    recipe = tl.Recipe(model="convnet-4", batch_size=20)
    assert config_of(recipe, data, None, ())["recipe"] == recipe.to_dict()
    for use in (lambda: tl.train(recipe, data, out), lambda: tl.load_model(out), lambda: tl.Run.load(out)):
        with pytest.raises(InputError) as error:
            use()
        assert "\n" not in str(error.value)
    assert {path.name for path in out.iterdir()} == {"config.json"}


def test_a_run_whose_data_followed_its_own_seed_is_refused_with_the_seed_that_mends_it(tmp_path):
    """Guards: a folder of version 0.1.0, where `--seed 3` drew the data too, refused without a reason."""
    recipe = tl.Recipe(model="convnet-4", seed=3)
    old, new = (tl.load_data("digits-s", limit=60, test_limit=60, seed=seed) for seed in (3, 0))
    config = config_of(recipe, old, None, ())
    config["data"]["fingerprint"] = old.fingerprint
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "result.json").write_text("{}")
    now = config_of(recipe, new, None, ())
    with pytest.raises(InputError, match="other data: its data were drawn by seed 3, so add --data-seed 3; or"):
        holds_finished_run(tmp_path, now, new.fingerprint)
    assert holds_finished_run(tmp_path, config_of(recipe, old, None, ()), old.fingerprint)


def test_an_unfinished_run_of_the_first_version_is_refused_with_its_version_first(tmp_path):
    """Guards: "run the same command again to resume it", which then is refused for one setting after the other."""
    recipe = tl.Recipe(model="convnet-4", seed=3, epsilon=8.0, secret_noise=False)
    old, new = (tl.load_data("digits-s", limit=60, test_limit=60, seed=seed) for seed in (3, 0))
    config = config_of(recipe, old, None, ())
    config["data"]["fingerprint"] = old.fingerprint
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = replace(recipe, secret_noise=True)
    for use in (
        lambda: holds_finished_run(tmp_path, config_of(again, old, None, ()), old.fingerprint),
        lambda: holds_finished_run(tmp_path, config_of(recipe, new, None, ()), new.fingerprint),
        lambda: OneModel.read(tmp_path),
        lambda: run_predictions(tmp_path),
    ):
        with pytest.raises(
            InputError, match=f"{tmp_path}.*: an earlier version began .* start again with another --out"
        ):
            use()
