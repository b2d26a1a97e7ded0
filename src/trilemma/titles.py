"""What trials are called: one form for the terminal, pages, figures, claims and cards.

A title names data, techniques, budget and what was removed.  Where trials of a study share these, it also names what
tells them apart (``model convnet-8``, ``limit 200``, ``data seed 1``), so that no two conditions of a study share
one.  So it does where mixes of techniques or skews differ in more, and where budgets differ in more than recipes choose
by budget, so that they cannot be confused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from trilemma.techniques import TECHNIQUES
from trilemma.words import CONTROL, RANK_OF_EARLIER, clean, condition_title, exact, ranking_words, shortened

_Name = TypeVar("_Name", bound=Hashable)

_FIRST = ("model", "limit", "test_limit", "data seed")
_LAST = ("provenance",)
"""Of several settings that would tell trials apart, those that are named first, and those that are named last."""

_OF_BOTH = ("seed", "flips", "shift")
"""What recipes and data both have."""

TECHNIQUES_OF = {
    setting: frozenset(technique.code for technique in TECHNIQUES.values() if name in technique.settings)
    for owner in TECHNIQUES.values()
    for name in owner.settings
    for setting in (name, *([f"data {name}"] if name in _OF_BOTH else []))
}
"""The settings that have an effect under some techniques alone, and the codes of these."""


_Settings = Mapping[str, Any]

_EFFECT_WHERE: Mapping[str, Callable[[_Settings], bool]] = {
    **dict.fromkeys(
        ("delta", "allow_large_delta", "clipping_norm", "secret_noise"), lambda s: s.get("epsilon") is not None
    ),
    **dict.fromkeys(("pretrain_updates", "head_first", "head_rate"), lambda s: bool(s.get("pretrain"))),
    "prior_seed": lambda s: bool(s.get("pretrain")) or str(s.get("model")).startswith("prior-"),
    "classes_seed": lambda s: s.get("skew") is not None,
    "control": lambda s: bool(s.get("arm")),
}
"""The settings that have an effect only beside some others, and whether these are among all of a trial's settings."""


def has_effect(setting: str, settings: _Settings) -> bool:
    """Whether a setting has an effect in the trial that has all of these settings (:func:`settings_of`)."""
    if setting in TECHNIQUES_OF:
        return not TECHNIQUES_OF[setting].isdisjoint(settings.get("techniques") or ())
    return setting not in _EFFECT_WHERE or _EFFECT_WHERE[setting](settings)


def has_effect_with_a_budget_alone(setting: str) -> bool:
    """Whether a setting has an effect in trials with a budget and in no other."""
    return has_effect(setting, {"epsilon": 1.0}) and not has_effect(setting, {"epsilon": None})


_LEFT_OUT = {
    "data seed": 0,
    "optimizer": "sgd",
    "weights": "",
    "trained": "all",
    "measures": (),
    "attacks": (),
    "prior_seed": 0,
    "pretrain": "",
    "pretrain_updates": 2000,
    "head_first": 0.2,
    "head_rate": 10.0,
    "provenance": "",
}
"""The settings that a recipe or data leave out at their defaults, and these."""

_NOTHING = {
    **dict.fromkeys(("delta", "classes_seed", "share", "arm", "control", "rank"), ""),
    **{f"{of}{name}": f"{of}{name} as the data set allows" for name in ("shift", "flips") for of in ("", "data ")},
    "norm_first": "norm and ReLU in the order of the network",
    "size": "images of the size that they have",
    "columns": "columns by their usual names",
    "test_split": "test split as the data set has it",
    "weights": "random weights",
    "pretrain": "no pretraining",
    "measures": "no measures from outside",
    "attacks": "no attacks from outside",
    "track": "nothing tracked",
}
"""What is said of a setting without a value; "" where what it belongs to (a budget, a skew, a removal) is absent too,
which titles say already.  Of others, that there is none."""

_TRUTHS = {
    "norm_first": ("ReLU before norm", "norm before ReLU"),
    **{f"{of}flips": (f"{of}views not mirrored", f"{of}views mirrored at random") for of in ("", "data ")},
    "secret_noise": ("reproducible noise", "secret noise"),
}
"""What is said of a setting that is false, and of one that is true."""

_BY_EPSILON = ("epsilon", "learning_rate")
"""What may differ between budgets (:mod:`trilemma.analysis.by_budget`)."""

BY_BUDGET = (
    *("epsilon", "batch_size", "epochs", "fewest_updates", "learning_rate", "schedule"),
    *("warmup", "momentum", "weight_decay", "views", "average_decay", "sharpness_radius"),
)
"""What may differ between a budget and none, beside what has an effect with one alone: the budget, and what the
package's recipes choose by it."""

WITHOUT_EFFECT = ("allow_large_delta", "attacks", "evaluations", "measures", "provenance", "secret_noise", "track")
"""The settings that say how a training is measured, recorded or explained, and change neither model nor data."""


def trial_title(trial: Mapping[str, Any], *, distinction: str = "", seed: bool = True) -> str:
    """A trial in a few words.

    Args:
      trial: as in ``study.json``.
      distinction: what tells it from other trials of its study, see :func:`told_apart`.
      seed: whether to name its seed.

    >>> trial_title({"recipe": {"techniques": [], "epsilon": 8.0, "seed": 1}, "data": {"name": "digits"}})
    'digits, BL, ε = 8, seed 1'
    """
    recipe, data, removal = trial.get("recipe", {}), trial.get("data", {}), trial.get("removal") or {}
    epsilon = recipe.get("epsilon")
    title = condition_title(
        data=str(data.get("name", "?")),
        skew=data.get("skew"),
        target=str(data.get("target") or ""),
        protected=str(data.get("protected") or ""),
        techniques=recipe.get("techniques", ()),
        epsilon=None if epsilon is None else float(epsilon),
        removed=float(removal.get("share", 0.0)),
        removal=str(removal.get("arm", "")),
        rank=str(removal.get("rank", RANK_OF_EARLIER)) if removal else "",
        distinction=distinction,
    )
    return f"{title}, seed {recipe.get('seed', '?')}" if seed else title


def trial_titles(trials: Mapping[str, Mapping[str, Any]], *, seed: bool = True) -> dict[str, str]:
    """The titles of a study's trials by id; two trials share one only if they differ in nothing.

    Args:
      trials: by id, as in ``study.json``.
      seed: whether to name their seeds; without, the trials of a condition share a title.
    """
    distinction = told_apart(trials)
    return {
        name: trial_title(trial, distinction=joined(distinction[name]), seed=seed) for name, trial in trials.items()
    }


def joined(distinction: Mapping[str, str]) -> str:
    """What :func:`told_apart` says of one trial, formatted for a title."""
    return ", ".join(filter(None, distinction.values()))


def told_apart(trials: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """By id, what tells a trial from those that have its title but for the seed, and from those whose title has other
    techniques, another budget or another skew but that differ in more: words by setting, empty where there are none.
    A setting that has no effect in a trial is not named there, unless nothing else tells it from another.

    All trials on the same data, or of one network on them, say the same things of themselves, so that what is compared
    is called alike.

    >>> recipe, data = {"techniques": [], "epsilon": None, "views": 4, "seed": 0}, {"name": "digits"}
    >>> told_apart({"a": {"recipe": recipe, "data": data}, "b": {"recipe": recipe, "data": data | {"limit": 200}}})
    {'a': {'limit': 'no limit'}, 'b': {'limit': 'limit 200'}}
    """
    settings = {name: settings_of(trial) for name, trial in trials.items()}
    words = wording(settings.values())
    axes = _axes(trials)
    distinction: dict[str, dict[str, str]] = {}
    for on_same_data in _grouped(settings, lambda name: str(settings[name].get("name"))):
        network = _telling(on_same_data, settings, axes)[:1]
        split = network == ["model"]
        parts = _grouped(on_same_data, lambda name: str(settings[name].get("model"))) if split else [on_same_data]
        for names in parts:
            keys = _telling(names, settings, axes)
            keys = [*network, *keys] if split else keys
            distinction |= {name: {key: _told(key, settings[name], words) for key in keys} for name in names}
    return _with_what_titles_shorten(trials, settings, distinction)


def _with_what_titles_shorten(
    trials: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, Any]],
    distinction: Mapping[str, dict[str, str]],
) -> dict[str, dict[str, str]]:
    """The same, with more words where titles are still alike: of values that titles shorten or round, such as a path;
    then, of values that differ in nothing but what cannot be shown, a checksum."""
    words, distinct = wording(settings.values()), {name: dict(more) for name, more in distinction.items()}
    for last in (False, True):
        titles = {
            name: trial_title(trial, distinction=joined(distinct[name]), seed=False) for name, trial in trials.items()
        }
        for alike in _grouped(trials, titles.get):
            keys = telling([[settings[name] for name in alike]])
            for name in alike if keys else ():
                if last:
                    distinct[name][""] = f"settings {hashlib.sha256(_plain(settings[name]).encode()).hexdigest()[:8]}"
                else:
                    distinct[name] |= {key: words(key, settings[name].get(key)) for key in keys}
    return distinct


def _told(key: str, settings: _Settings, words: Callable[[str, Any], str]) -> str:
    """A setting in words, "" where it has no effect, and where the title of a removal says it already."""
    ranked_by_histogram = settings.get("arm") == "exposed" and settings.get("rank") == "histogram"
    unsaid = (key == "rank" and ranked_by_histogram) or not has_effect(key, settings)
    return "" if unsaid else words(key, settings.get(key))


def _with(trial: Mapping[str, Any], data: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The trial as it would be with another recipe, and with other data."""
    return {**trial, "recipe": trial.get("recipe", {}) | changes, "data": trial.get("data", {}) | dict(data or {})}


_Axis = tuple[Mapping[str, str], Callable[[_Settings], _Settings | None]]
"""By id, the titles of trials without what varies along an axis; and the settings that trials of one such title must
share so that nothing more is said of them, None of trials that the axis does not have."""


def _axes(trials: Mapping[str, Mapping[str, Any]]) -> tuple[_Axis, ...]:
    def titles(data: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, str]:
        return {name: trial_title(_with(trial, data, **changes), seed=False) for name, trial in trials.items()}

    mixes, budgets, skews = titles(techniques=()), titles(techniques=(), epsilon=1.0), titles({"skew": None})
    return (
        (titles(), lambda s: s),
        (mixes, beside_techniques),
        (budgets, _beside_budget),
        (budgets, lambda s: None if s.get("epsilon") is None else beside_techniques(s, *_BY_EPSILON)),
        (skews, lambda s: beside_skew(s, "classes_seed")),
        (skews, lambda s: None if s.get("skew") is None else beside_skew(s)),
    )


def _telling(names: Sequence[str], settings: Mapping[str, _Settings], axes: Iterable[_Axis]) -> list[str]:
    """The keys that tell apart trials of one title, and mixes of techniques, budgets or skews that differ in more.

    Args:
      names: of the trials; settings: theirs.
      axes: see :func:`_axes`.
    """
    return telling(
        [values for name in alike if (values := shared(settings[name])) is not None]
        for titles, shared in axes
        for alike in _grouped(names, titles.get)
    )


def beside_techniques(settings: Mapping[str, Any], *free: str) -> dict[str, Any]:
    """What mixes of techniques must share to be compared: all settings that have an effect, but for those of techniques
    and those that change no training; and for those that are ``free``."""
    return _effective(settings, ("techniques", *TECHNIQUES_OF, *free))


def beside_skew(settings: Mapping[str, Any], *free: str) -> dict[str, Any]:
    """What skews must share to be compared: all settings that have an effect, but for the skew and those that change no
    training; and for those that are ``free``."""
    return _effective(settings, ("name", "skew", *free))


def _beside_budget(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a budget and none must share to be compared, whatever their techniques."""
    of_budgets = [key for key in settings if has_effect_with_a_budget_alone(key)]
    return beside_techniques(settings, *BY_BUDGET, *of_budgets)


def _effective(settings: _Settings, free: Container[str]) -> dict[str, Any]:
    left = [key for key in settings if key not in free and key not in WITHOUT_EFFECT and has_effect(key, settings)]
    return {key: settings[key] for key in left}


def made_distinct(titles: Mapping[_Name, str], *more: Mapping[_Name, str]) -> dict[_Name, str]:
    """Titles by key; where several are alike, with further words, as far as these are not alike too.

    >>> made_distinct({1: "digits", 2: "digits", 3: "faces"}, {1: "200 examples", 2: "", 3: "90 examples"})
    {1: 'digits, 200 examples', 2: 'digits', 3: 'faces'}
    """
    distinct = dict(titles)
    for words in more:
        for alike in _grouped(distinct, distinct.get):
            if len({words[key] for key in alike}) > 1:
                distinct |= {key: ", ".join(word for word in (distinct[key], words[key]) if word) for key in alike}
    return distinct


def _grouped(names: Iterable[_Name], key: Callable[[_Name], Any]) -> list[list[_Name]]:
    """Names with the same key, in order."""
    groups: dict[Any, list[_Name]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return list(groups.values())


def settings_of(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that defines the trial except its seed, by name."""
    recipe, removal = trial.get("recipe", {}), trial.get("removal") or {}
    settings = {key: value for key, value in recipe.items() if key != "seed"}
    for key, value in trial.get("data", {}).items():
        settings[f"data {key}" if key in _OF_BOTH else key] = value
    if removal:
        settings |= {"control": CONTROL, "rank": RANK_OF_EARLIER} | {
            key: value for key, value in removal.items() if key != "scored_by"
        }
    return settings | {"track": trial.get("track")}


def telling(groups: Iterable[Iterable[Mapping[str, Any]]]) -> list[str]:
    """As few keys as tell all different settings of each group apart, by adding what tells more of them apart and
    dropping what turns out not to be needed."""
    different = [list({_plain(each): each for each in group}.values()) for group in groups]
    different = [group for group in different if len(group) > 1]
    everywhere = dict.fromkeys(key for group in different for each in group for key in each)
    names = [*_FIRST, *(key for key in everywhere if key not in (*_FIRST, *_LAST)), *_LAST]
    names = [key for key in names if _kinds(different, [key]) > len(different)]
    keys: list[str] = []
    for key in names:
        if _kinds(different, [*keys, key]) > _kinds(different, keys):
            keys.append(key)
    for key in list(keys):
        fewer = [other for other in keys if other != key]
        if _kinds(different, fewer) == _kinds(different, names):
            keys = fewer
    return keys


def settings_key(settings: Mapping[str, Any]) -> str:
    """Equal for settings that mean the same: an absent value is none, and 20 is 20.0."""
    values = {key: _default(key, value) for key, value in {"data seed": None, **settings}.items()}
    numbers = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in values.items() if v is not None}
    return json.dumps(numbers, sort_keys=True, default=str)


def wording(settings: Iterable[Mapping[str, Any]]) -> Callable[[str, Any], str]:
    """How titles name a setting and its value.  Long values are shortened, but never so far that two of one setting
    are alike.

    >>> wording([{"model": "a" * 30 + "b" + "c" * 30}, {"model": "a" * 30 + "d" + "c" * 30}])("model", "convnet")
    'model convnet'

    Args:
      settings: all those that the words must tell apart.
    """
    known, lengths = list(settings), dict[str, int]()

    def words(key: str, value: Any) -> str:
        value = _default(key, value)
        if value is None or value == "" or value == () or value == []:
            return _NOTHING.get(key, f"no {key}")
        if key == "track" and isinstance(value, Mapping):
            return f"tracking the first {value.get('first')} examples of class {value.get('label')}"
        if key == "rank":
            return ranking_words(str(value))
        if key in _TRUTHS and isinstance(value, bool):
            return _TRUTHS[key][value]
        if key not in lengths:
            texts = {_text(each[key]) for each in known if key in each}
            lengths[key] = next(
                n for n in range(24, 2**62, 8) if len({shortened(text, n) for text in texts}) == len(texts)
            )
        return f"{'data' if key == 'name' else key} {shortened(_text(value), lengths[key])}"

    return words


def words_of(settings: Mapping[str, Any], keys: Iterable[str], words: Callable[[str, Any], str]) -> str:
    """Some of a trial's settings in words, see :func:`wording`."""
    return ", ".join(words(key, settings.get(key)) for key in keys)


def _plain(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True, default=str)


def _kinds(groups: Sequence[Sequence[Mapping[str, Any]]], keys: Sequence[str]) -> int:
    """How many different settings the groups have, by some of their keys."""
    return sum(
        len({json.dumps([_default(key, each.get(key)) for key in keys], default=str) for each in group})
        for group in groups
    )


def _default(key: str, value: Any) -> Any:
    """A setting that ``study.json`` leaves out has its default."""
    return _LEFT_OUT.get(key) if value is None else value


def _text(value: Any) -> str:
    if isinstance(value, float):
        return exact(value)
    if isinstance(value, Mapping):
        return clean(" ".join(f"{name}={named}" for name, named in value.items()))
    return clean(",".join(map(str, value)) if isinstance(value, list | tuple) else value)
