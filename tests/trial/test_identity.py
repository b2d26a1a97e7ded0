"""A folder whose ``config.json`` is damaged is refused in one line, whatever the damage is."""

import pytest

import trilemma as tl
from trilemma.errors import InputError
from trilemma.trial.identity import config_of


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
