"""Studies as data: what a file may say, which trials it gives, and what their ids are."""

import hashlib
import json
import math
import textwrap
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.errors import InputError
from trilemma.study.file import STUDIES, load_study, read_study
from trilemma.study.trials import ARMS, Removal, Track, Trial, expand, techniques_axis
from trilemma.techniques import PAPER_TECHNIQUES
from trilemma.training.recipe import Recipe


def written(folder, text, name="mine.toml"):
    path = folder / name
    path.write_text(textwrap.dedent(text), "utf-8")
    return path


SMALLEST = """
    [[grid]]
    data = "digits"
    recipe = "digits"
"""


def test_the_smallest_file_is_one_trial_for_each_of_three_seeds(tmp_path):
    study = expand(load_study(written(tmp_path, SMALLEST))[0])
    assert study.name == study.title == "mine"
    assert [trial.recipe.seed for trial in study.trials] == [0, 1, 2]
    assert study.scale == ""


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_that_comes_with_the_package_expands_at_each_of_its_scales(name):
    for file in load_study(name):
        for scale in file.scales:
            study = expand(file, scale=scale)
            assert len({trial.id for trial in study.trials}) == len(study.trials) > 0
            assert study.figures
            conditions = {}
            for trial in study.trials:
                conditions.setdefault((trial.recipe.model, trial.condition), set()).add(trial.recipe.seed)
            for (model, _), seeds in conditions.items():
                wanted = (3, 5) if scale == "medium" else (5,) if model == "prior-s" else (3,)
                assert seeds in [set(range(count)) for count in wanted]


@pytest.mark.parametrize("name", ["budget", "techniques", "outliers", "celeba"])
def test_at_the_small_scale_studies_also_run_on_all_images(name):
    study = expand(read_study(name), scale="small")
    arm = [trial for trial in study.trials if trial.recipe.model == "prior-s"]
    assert study.seeds == tuple(range(5))
    assert len(arm) == {"budget": 25, "techniques": 25, "outliers": 50, "celeba": 20}[name]
    assert all("limit" not in dict(trial.data) and trial.recipe.provenance for trial in arm)
    assert not any({"gn", "ws"} & set(trial.recipe.techniques) for trial in arm), "which do not apply to a linear model"
    other = expand(read_study(name), scale="small", data=[{"name": "cifar10s"}])
    assert all(trial.recipe.model != "prior-s" for trial in other.trials)
    assert all(trial.recipe.model != "prior-s" for trial in expand(read_study(name), scale="paper").trials)


def test_what_removes_examples_by_a_training_without_a_budget_takes_that_recipes_rate_without_one():
    arm = [t for t in expand(read_study("outliers"), scale="small").trials if t.recipe.model == "prior-s"]
    whole = {t.id: t for t in arm if t.removal is None}
    assert len(whole) == 10
    scorers = {whole[t.removal.scored_by].recipe.learning_rate for t in arm if t.removal is not None}
    assert scorers == {350}
    assert {t.recipe.learning_rate for t in arm if t.recipe.private} == {1000}


def test_the_grids_of_the_paper_are_those_of_the_plan():
    small = {file.name: expand(file) for file in load_study("paper")}
    assert list(small) == ["techniques", "memorization", "budget", "outliers", "celeba"]
    codes = {t.recipe.techniques for t in small["techniques"].trials if t.recipe.model != "prior-s"}
    assert codes == {PAPER_TECHNIQUES[:k] for k in range(7)}
    budget = {(t.recipe.epsilon, dict(t.data).get("skew")) for t in small["budget"].trials}
    assert budget == {(e, s) for e in (None, 1.0, 2.0, 4.0, 8.0) for s in (None, 0.75, 0.95)}
    paper = expand(read_study("techniques"), scale="paper")
    assert {dict(t.data)["name"] for t in paper.trials} == {"cifar10", "cifar100", "cifar10s", "cifar100s"}
    assert {dict(t.data)["target"] for t in small["celeba"].trials} == {"Smiling", "Blond_Hair"}


def test_the_same_trial_in_two_studies_has_one_id():
    first, second = (expand(read_study(name)) for name in ("techniques", "budget"))
    shared = {t.id for t in first.trials} & {t.id for t in second.trials}
    # All techniques with and without eps 8, on cifar10 and at skew 95 %, three seeds.
    assert len(shared) == 12


def trial(**changes):
    return Trial(Recipe(model="convnet-8", epsilon=8.0), (("limit", 100), ("name", "cifar10")), **changes)


OTHER = {
    "model": "convnet-4", "techniques": ("gn",), "epsilon": 4.0, "delta": 1e-6, "allow_large_delta": True,
    "clipping_norm": 0.5, "batch_size": 32, "epochs": 3.0, "fewest_updates": 7, "learning_rate": 0.1,
    "schedule": "cosine", "warmup": 0.1, "momentum": 0.5, "weight_decay": 0.1, "label_smoothing": 0.1,
    "norm_groups": 2, "norm_first": True, "views": 3, "shift": 1, "flips": False, "average_decay": 0.5,
    "sharpness_radius": 0.1, "evaluations": 3, "seed": 5, "secret_noise": False, "prior_seed": 1,
    "pretrain": "synthetic", "pretrain_updates": 7, "head_first": 0.5, "head_rate": 2.0, "provenance": "guessed",
    "optimizer": "adam", "weights": "hub", "trained": "last", "measures": ("mine:a",), "attacks": ("mine:b",),
}  # fmt: skip


def test_every_key_of_a_recipe_changes_the_id():
    assert set(OTHER) == {f.name for f in fields(Recipe)}
    ids = {trial().id} | {replace(trial(), recipe=replace(trial().recipe, **{k: v})).id for k, v in OTHER.items()}
    assert len(ids) == len(OTHER) + 1


def test_data_tracking_and_removal_change_the_id():
    ones = [
        trial(),
        replace(trial(), data=(("limit", 101), ("name", "cifar10"))),
        trial(track=Track(0, 1)),
        trial(track=Track(1, 1)),
        trial(removal=Removal(0.1, "exposed", "x")),
        trial(removal=Removal(0.2, "exposed", "x")),
        trial(removal=Removal(0.1, "random", "x")),
        trial(removal=Removal(0.1, "random", "y")),
        trial(removal=Removal(0.1, "random", "x", "class,group")),
        trial(removal=Removal(0.1, "random", "x", rank="rmia")),
        trial(removal=Removal(0.1, "random", "x", rank="lira")),
    ]
    assert len({made.id for made in ones}) == len(ones)


@given(st.floats(0.001, 10), st.sampled_from([None, 1.0, 8.0]), st.integers(0, 9), st.sampled_from(ARMS), st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_trial_survives_its_dictionary(rate, epsilon, seed, arm, removed):
    original = Trial(
        Recipe(learning_rate=rate, epsilon=epsilon, seed=seed, techniques="am,gn"),
        (("name", "cifar10s"), ("skew", 0.95)),
        Track(1, 2),
        Removal(0.25, arm, "abc") if removed else None,
    )
    again = Trial.from_dict(original.to_dict())
    assert again == original
    assert again.id == original.id
    other_seed = replace(original, recipe=replace(original.recipe, seed=seed + 1))
    assert other_seed.condition == original.condition
    assert other_seed.id != original.id


def test_a_removal_ranked_by_the_histogram_keeps_the_id_it_had_before_there_were_others():
    """Guards: studies of earlier versions, whose files name no rank, are retrained."""
    by_histogram = trial(removal=Removal(0.1, "exposed", "x", rank="histogram"))
    assert set(by_histogram.to_dict()["removal"]) == {"share", "arm", "scored_by", "control"}
    assert Trial.from_dict(by_histogram.to_dict()).removal.rank == "histogram"


def test_exposure_is_ranked_by_rmia_unless_something_else_is_asked_for():
    file = read_study("outliers")
    for rank, expected in ((None, "rmia"), ("lira", "lira"), ("histogram", "histogram")):
        assert {t.removal.rank for t in expand(file, rank=rank).trials if t.removal} == {expected}
    with pytest.raises(InputError, match="techniques removes none: leave it out"):
        expand(read_study("techniques"), rank="lira")


def test_the_default_skew_is_written_out(tmp_path):
    plain = expand(load_study(written(tmp_path, SMALLEST.replace('"digits"', '"digits-s"', 1)))[0])
    spelled_out = SMALLEST.replace('"digits"', '{name = "digits-s", skew = 0.9}', 1)
    assert [t.id for t in plain.trials] == [t.id for t in expand(load_study(written(tmp_path, spelled_out))[0]).trials]


DEFAULTS = {
    "cifar10s": {"skew": 0.95, "seed": 0, "limit": 0, "test_limit": 0, "flips": True, "shift": 4},
    "digits": {"seed": 0, "flips": False, "shift": 1},
    "cifar100": {"target": "fine", "seed": 0},
    "celeba": {"target": "smiling", "protected": "Male", "columns": {}},
    "my-folder": {"seed": 0, "limit": 0},
}
"""Options that say what is so without them."""


def the_trial(folder, recipe, data):
    values = ", ".join(f"{name} = {value if name != 'columns' else '{}'!s}" for name, value in data.items())
    table = values.replace("True", "true").replace("False", "false")
    (folder / "recipe.toml").write_text("".join(f"{name} = {value!r}\n" for name, value in recipe.items()))
    text = f'[[grid]]\nseeds = 1\nrecipe = "recipe.toml"\ndata = {{{table}}}\n'
    (trial,) = expand(load_study(written(folder, text))[0]).trials
    return trial


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(DEFAULTS)),
    options=st.sets(st.integers(0, 5)),
    numbers=st.dictionaries(
        st.sampled_from([f.name for f in fields(Recipe) if f.type == "float" and f.name != "delta"]),
        st.sampled_from([0, 1, 2, 20, 400]),
    ),
)
def test_a_default_written_out_and_a_point_after_a_number_make_no_other_trial(tmp_path_factory, name, options, numbers):
    """Guards: `seed = 0`, `skew = 1` beside `1.0`, or `epochs = 20.0` as a trial of its own, trained a second time."""
    folder = tmp_path_factory.mktemp("forms")
    written_out = {key: value for place, (key, value) in enumerate(DEFAULTS[name].items()) if place in options}
    quoted = {key: repr(value) if isinstance(value, str) else value for key, value in written_out.items()}
    try:
        plain = the_trial(folder, numbers, {"name": repr(name)})
    except InputError:  # a momentum of 20
        return
    same = the_trial(folder, {key: float(value) for key, value in numbers.items()}, {"name": repr(name)} | quoted)
    assert same == plain
    assert (same.id, same.condition) == (plain.id, plain.condition)


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe) if str(f.type).startswith("float")])
def test_minus_zero_is_zero(name):
    """Guards: a weight decay of -0.0 as another trial than 0.0, since the text of the two differs."""
    try:
        zero, minus = Recipe(**{name: 0.0}), Recipe(**{name: -0.0})
    except InputError:  # no learning rate of 0
        return
    assert json.dumps(minus.to_dict()) == json.dumps(zero.to_dict())


def test_a_whole_skew_is_a_skew(tmp_path):
    ids = {the_trial(tmp_path, {}, {"name": "'cifar10s'", "skew": skew}).id for skew in ("1", "1.0", "1e0")}
    assert len(ids) == 1


IDS = {
    "quickstart": "d004ab8b58dd402d",
    "techniques": "30d351835d20fc3e",
    "memorization": "8966dbcd5c0c433e",
    "budget": "d8e436c5b2483124",
    "outliers": "7bd160c9635facbc",
    "celeba": "b2cf85096b19b06a",
}
"""For each study of the package, a checksum of the ids of its trials at all of its scales."""


def test_the_ids_of_the_trials_of_the_package_stay_what_they_were():
    """A change of this value means that every unfinished study begins anew: say so in CHANGELOG."""
    for name, known in IDS.items():
        (file,) = load_study(name)
        ids = [trial.id for scale in file.scales for trial in expand(file, scale=scale).trials]
        assert hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16] == known, name


@pytest.mark.parametrize("skew", ['"none"', "nan", "-1.0", "1.5"])
def test_a_skew_that_no_set_can_have_is_refused_before_anything_is_written(tmp_path, skew):
    path = tmp_path / "mine.toml"
    path.write_text(f'[[grid]]\ndata = {{name = "digits-s", skew = {skew}}}\nrecipe = "digits"\n')
    with pytest.raises(InputError, match="skew must lie in"):
        expand(load_study(path)[0])


def test_both_arms_of_a_removal_are_scored_by_the_same_trial_without_a_budget():
    study = expand(read_study("outliers"))
    trials = {planned.id: planned for planned in study.trials}
    order = list(trials)
    for planned in study.trials:
        if planned.removal is None:
            continue
        scorer = trials[planned.removal.scored_by]
        assert scorer.recipe.epsilon is None
        assert scorer.removal is None
        assert scorer.recipe.seed == planned.recipe.seed
        assert scorer.data == planned.data
        assert order.index(scorer.id) < order.index(planned.id)
    arms = {}
    for planned in study.trials:
        if planned.removal:
            key = (planned.recipe.seed, planned.data, planned.recipe.epsilon, planned.removal.share)
            arms.setdefault(key, {})[planned.removal.arm] = planned.removal.scored_by
    assert arms
    assert all(set(pair) == set(ARMS) and len(set(pair.values())) == 1 for pair in arms.values())


def test_options_of_the_command_replace_data_seeds_and_scale():
    file = read_study("techniques")
    study = expand(file, scale="paper", seeds=1, data=[{"name": "digits-s", "skew": 0.8}])
    assert {t.data for t in study.trials} == {(("name", "digits-s"), ("skew", 0.8))}
    assert study.seeds == (0,)
    assert study.scale == "paper"
    assert all(t.recipe.model == "wrn-16-4" for t in study.trials)


ARM = (
    SMALLEST
    + """
    [[grid]]
    data = {name = "digits-s", limit = 0}
    recipe = "digits"
    seeds = 5
    own_data = true

    [scale.small]
    data = {limit = 100}
"""
)


def test_a_grid_may_have_seeds_data_and_images_of_its_own(tmp_path):
    file = load_study(written(tmp_path, ARM))[0]
    trials = expand(file).trials
    assert [t.recipe.seed for t in trials if dict(t.data)["name"] == "digits"] == [0, 1, 2]
    assert [t.recipe.seed for t in trials if dict(t.data)["name"] == "digits-s"] == [0, 1, 2, 3, 4]
    assert {dict(t.data)["name"]: dict(t.data).get("limit") for t in trials} == {"digits": 100, "digits-s": None}
    # A command that asks for seeds or data means all grids, but for those that fit their own data alone.
    assert [t.recipe.seed for t in expand(file, seeds=1).trials] == [0, 0]
    assert {dict(t.data)["name"] for t in expand(file, data=[{"name": "cifar10"}]).trials} == {"cifar10"}


def test_techniques_by_word_and_listed():
    codes = PAPER_TECHNIQUES
    assert techniques_axis("each") == [(), *((c,) for c in codes)]
    assert techniques_axis("leave-one-out")[0] == codes
    assert all(len(mix) == 5 for mix in techniques_axis("leave-one-out")[1:])
    assert techniques_axis(("none", "gn,ws", "none")) == [(), ("gn", "ws")]
    assert techniques_axis("all") == [codes]


def test_a_recipe_beside_the_study_is_found(tmp_path, monkeypatch):
    written(tmp_path, 'model = "convnet-4"\nepochs = 1.0', "mine-recipe.toml")
    path = written(tmp_path, SMALLEST.replace('recipe = "digits"', 'recipe = "mine-recipe.toml"'))
    monkeypatch.chdir("/")
    assert expand(load_study(path)[0]).trials[0].recipe.model == "convnet-4"


def test_infinity_is_no_budget(tmp_path):
    path = written(tmp_path, SMALLEST + '    epsilon = [inf, "none", 8]\n')
    budgets = [t.recipe.epsilon for t in expand(load_study(path)[0], seeds=1).trials]
    assert budgets == [None, 8.0]
    assert math.isinf(read_study(path).raw["grid"][0]["epsilon"][0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'" + SMALLEST, "unknown key 'titel' in the file of the study mine (did you mean 'title'?)"),
        (SMALLEST + "    epsilom = 8.0", "did you mean 'epsilon'?"),
        (SMALLEST + "    epsilon = []", "an axis is an empty list"),
        (SMALLEST + "    epsilon = ['8']", "must be numbers"),
        (SMALLEST + "    epsilon = -1.0", "epsilon must be positive"),
        (SMALLEST + "    techniques = 'everything'", "unknown technique 'everything'"),
        (SMALLEST + "    set = {view = 3}", "unknown recipe key 'view' (did you mean 'views'?)"),
        (SMALLEST + "    set = {seed = 3}", "it is an axis of the grid"),
        (SMALLEST + "    track = {label = 0}", "track of the study mine must be"),
        (SMALLEST + "    removal = {shares = [1.5]}", "numbers between 0 and 1"),
        (SMALLEST + "    removal = {shares = [0.5], control = 'x'}", "removal.control"),
        (SMALLEST + "    removal = {shares = [0.5], rank = 'loss'}", "removal.rank"),
        (SMALLEST.replace('"digits"', "[]", 1), "empty list"),
        (SMALLEST.replace('"digits"', "{skew = 0.9}", 1), "must be names, or tables"),
        (SMALLEST.replace('"digits"', '{name = "digits", skw = 0.9}', 1), "did you mean 'skew'?"),
        (SMALLEST.replace('data = "digits"', ""), "has no data"),
        (SMALLEST.replace('recipe = "digits"', ""), "names no recipe"),
        (SMALLEST.replace('recipe = "digits"', 'recipe = "digit"'), "did you mean 'digits'?"),
        ("seeds = 0" + SMALLEST, "seeds of the study mine must be"),
        (SMALLEST + "    own_data = 1", "own_data of the study mine must be true or false"),
        (SMALLEST + "    seeds = 0", "seeds of the study mine must be"),
        ("seeds = [1, 1]" + SMALLEST, "different whole numbers"),
        ("title = 3" + SMALLEST, "title of the study mine must be text"),
        ("parts = ['budget']" + SMALLEST, "either [[grid]] tables or parts"),
        ("title = 'x'", "either [[grid]] tables or parts"),
        ("grid = 3", "write [[grid]]"),
        ("[[grid]", "is not valid TOML"),
        ("parts = ['mine.toml']", "a part of itself"),
        (SMALLEST + "    scales = ['paper']\n[scale.small]", "no trials at this scale"),
    ],
)
def test_what_a_file_must_not_say(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        [expand(file) for file in load_study(path)]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused_with_the_nearest_known_one():
    with pytest.raises(InputError, match=r"did you mean 'techniques'\?"):
        load_study("technique")
    with pytest.raises(InputError, match=r"no scale 'smal' \(did you mean 'small'\?\): it has small, medium, paper"):
        expand(read_study("budget"), scale="smal")
    with pytest.raises(InputError, match="no seeds"):
        expand(read_study("budget"), seeds=0)
