"""All choices of one training, as one value that can be written down and read back."""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trilemma.data.named import NAMED as NAMED_DATA
from trilemma.data.named import OTHERS_RECIPE
from trilemma.errors import InputError
from trilemma.files import read_toml
from trilemma.hints import did_you_mean, listed
from trilemma.outside import is_outside
from trilemma.techniques import TECHNIQUES, parse_techniques
from trilemma.words import CLIPPING_NORMS, DELTA, DELTA_RANGE

Schedule = Literal["constant", "cosine"]

_RANGES: dict[str, tuple[float, float | None]] = {
    "clipping_norm": CLIPPING_NORMS,
    "batch_size": (0, None),
    "prior_seed": (0, 2**63 - 1),
    "pretrain_updates": (1, None),
    "head_first": (0, 1),
    "fewest_updates": (1, None),
    "warmup": (0, 1),
    "momentum": (0, 0.9999),
    "weight_decay": (0, None),
    "label_smoothing": (0, 0.9999),
    "norm_groups": (1, None),
    "views": (1, 10_000),
    "average_decay": (0, 1),
    "sharpness_radius": (0, None),
    "evaluations": (1, 100_000),
    "seed": (0, 2**63 - 1),
}

_LATER = (
    "optimizer",
    "weights",
    "trained",
    "measures",
    "attacks",
    "prior_seed",
    "pretrain",
    "pretrain_updates",
    "head_first",
    "head_rate",
    "provenance",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training, complete but for the data.

    Attributes:
      model: name of a network (``trilemma.models.NAMES``).
      techniques: codes of ``TECHNIQUES``, any subset; "all", "none" and comma-separated text are understood.
      epsilon: ε of the budget; None trains without a budget.
      delta: δ of the budget; 1e-5 unless given.
      allow_large_delta: accept a δ of 1/N or more.
      clipping_norm: C, the largest norm of a per-example gradient, with a budget; from 1e-30 to 1e30.
      batch_size: size of the logical batch (expected size, with a budget); with ``obs``, where its rule starts.  0 is
        the whole training set: every example in every update.
      epochs: examples that may be spent, as a multiple of the training set; with the batch size, the updates.
      fewest_updates: ``obs`` never takes a batch so large that fewer updates than this are left.
      learning_rate: at ``batch_size``; ``obs`` scales it with the batch it chooses.
      schedule: "constant", or "cosine" to zero.
      warmup: share of the updates over which the learning rate rises from 0.
      momentum: of SGD; the other optimizers have their own.
      weight_decay: of the optimizer.
      label_smoothing: share of the target that is spread evenly over all classes.
      norm_groups: number of groups of channels in each group norm.
      norm_first: norm before ReLU; None is the network's usual order.
      views: K, the number of views per example under ``am``.
      shift: how far a view is moved at most; None is what the data set allows.
      flips: whether views are mirrored at random; None is what the data set allows.
      average_decay: decay of the moving average under ``pa``, after the warm-up min(decay, (1 + t) / (10 + t)).
      sharpness_radius: ρ of ``sat``.
      evaluations: how many times the run is measured, the last one at its end.
      seed: source of initial weights, views, order, and, if the noise is not secret, of sampling and noise.
      secret_noise: with a budget, key sampling and noise by the operating system's randomness in place of ``seed``, and
        keep no record of the key once the run has ended.  Nobody can repeat the noise, and neither can you.  False
        makes the run reproducible and its model unfit for release, since whoever knows the seed can subtract the noise.
      prior_seed: seed of the synthetic images and dictionaries of a ``prior`` model, which many trainings share.
      pretrain: "synthetic" starts from a backbone trained on synthetic images (of ``prior_seed``); "" at random.
      pretrain_updates: how many updates that pre-training makes.
      head_first: after it, the share of the updates in which only the head is trained; then all layers are.
      head_rate: factor of the learning rate while only the head is trained.
      provenance: how these values were chosen, and whether that was paid for; printed with every result.
      optimizer: "sgd", "adam" or "adamw", as torch has them, or ``module:name`` (``docs/extend.md``).
      weights: of a network of timm: "hub", or a ``.safetensors`` file; "" for random ones.
      trained: "all" layers of such a network, or the "last" alone.
      measures: more measures, from outside (``module:name``), taken when the run is measured.
      attacks: more attacks, from outside (``module:name``), made when the run is measured.

    Raises:
      InputError: a value outside its range, or techniques that do not exist.

    >>> Recipe(techniques="am,gn", epsilon=8).techniques
    ('gn', 'am')
    """

    model: str = "convnet"
    techniques: tuple[str, ...] = ()
    epsilon: float | None = None
    delta: float | None = None
    allow_large_delta: bool = False
    clipping_norm: float = 1.0
    batch_size: int = 64
    epochs: float = 20.0
    fewest_updates: int = 200
    learning_rate: float = 0.05
    schedule: Schedule = "constant"
    warmup: float = 0.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    norm_groups: int = 16
    norm_first: bool | None = None
    views: int = 4
    shift: int | None = None
    flips: bool | None = None
    average_decay: float = 0.999
    sharpness_radius: float = 0.05
    evaluations: int = 10
    seed: int = 0
    secret_noise: bool = True
    prior_seed: int = 0
    pretrain: str = ""
    pretrain_updates: int = 2000
    head_first: float = 0.2
    head_rate: float = 10.0
    provenance: str = ""
    optimizer: str = "sgd"
    weights: str = ""
    trained: str = "all"
    measures: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "techniques", parse_techniques(self.techniques))
        for kind in ("measures", "attacks"):
            object.__setattr__(self, kind, _own_names(getattr(self, kind), kind))
        for f in fields(self):
            object.__setattr__(self, f.name, _plain(f.name, getattr(self, f.name), str(f.type)))
        if self.epsilon is not None:
            if not (self.epsilon > 0 and math.isfinite(self.epsilon)):
                raise InputError(
                    f"epsilon must be positive and finite, not {self.epsilon}; leave it out to train without a budget"
                )
            object.__setattr__(self, "epsilon", float(self.epsilon))
            object.__setattr__(self, "delta", DELTA if self.delta is None else self.delta)
        elif self.delta is not None:
            raise InputError("delta without epsilon is not a budget: give both or neither")
        if self.delta is not None and not 0 < self.delta < 1:
            raise InputError(DELTA_RANGE.format(self.delta))
        for name in ("epochs", "learning_rate", "head_rate"):
            _check(name, getattr(self, name), 0, 1_000_000 if name == "epochs" else None, open_low=True)
        for name, (low, high) in _RANGES.items():
            _check(name, getattr(self, name), low, high)
        if self.shift is not None:
            _check("shift", self.shift, 0, None)
        pairs = (("pretrain", "synthetic", ""), ("trained", "all", "last"), ("schedule", "constant", "cosine"))
        for name, first, second in pairs:
            if (value := getattr(self, name)) not in (first, second):
                raise InputError(f"{name} must be {first} or {second or 'left out'}, not {value!r}")
        if self.pretrain and self.trained == "last":
            raise InputError("pre-training trains every layer and trained = last freezes all but one: leave one out")
        if not isinstance(self.model, str) or not self.model:
            raise InputError("model must be the name of a network")

    def has(self, technique: str) -> bool:
        """Whether the recipe uses a technique, by its code."""
        return technique in self.techniques

    @property
    def own_techniques(self) -> tuple[str, ...]:
        """The techniques from outside."""
        return tuple(code for code in self.techniques if code not in TECHNIQUES)

    @property
    def from_outside(self) -> tuple[tuple[str, str], ...]:
        """(kind, name) of every part that is imported when it is used.  A recipe that is merely in the folder of a
        run must not be trained by while it has any: its import would run whatever code a stranger's folder names."""
        single = {"models": self.model, "optimizers": self.optimizer}
        several = {"techniques": self.own_techniques, "measures": self.measures, "attacks": self.attacks}
        return (
            *((kind, name) for kind, name in single.items() if is_outside(name, kind)),
            *((kind, name) for kind, names in several.items() for name in names),
        )

    @property
    def private(self) -> bool:
        """Whether the recipe has a budget."""
        return self.epsilon is not None

    @property
    def keeps_noise_secret(self) -> bool:
        """Whether sampling and noise come from a key that nobody keeps; without a budget nothing has to be secret."""
        return self.private and self.secret_noise

    @property
    def multiplicity(self) -> int:
        """K: how many views of an example an update sees."""
        return self.views if self.has("am") else 1

    def to_dict(self) -> dict[str, Any]:
        """Complete, JSON-compatible, in the order of the fields.  Keys that came later are left out at their
        defaults, so that runs made before them keep their fingerprints."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        defaults = {f.name: f.default for f in fields(self)}
        later = {name for name in _LATER if values[name] == defaults[name]}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name not in later
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Recipe:
        """Inverse of :meth:`to_dict`; absent keys take their defaults, unknown ones are errors.

        Raises:
          InputError: a key is unknown, or a value is of another type or out of range.
        """
        known = {f.name: f for f in fields(cls)}
        for key, value in values.items():
            if key not in known:
                near = did_you_mean(key, known) or f": the keys are {listed(known, most=None)}"
                raise InputError(f"unknown recipe key {key!r}{near}")
            _check_type(key, value, str(known[key].type))
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)

    def to_toml(self) -> str:
        """As a TOML document that :func:`load_recipe` reads back to an equal recipe."""
        lines = [
            f"{name} = " + json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            for name, value in self.to_dict().items()
            if value is not None
        ]
        return "\n".join(lines) + "\n"

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of what the recipe is: equal recipes share it, changed ones never do."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


NAMED = {
    "digits": "a small convnet for the embedded digits, seconds",
    "cifar-small": "a convnet for CIFAR on two CPU cores, minutes",
    "cifar-paper": "WRN-16-4 as De et al. 2022 train it, a GPU and hours",
    "cifar10-wrn-16-4-eps8": "WRN-16-4 at epsilon 8 with batches of 4,096 and 16 views, all techniques but obs: a GPU",
    "cifar10-wrn-40-4-eps8": "the same with WRN-40-4",
    "cifar-study": "a smaller one for studies of many trainings on 1,500 images, a minute each",
    "conv-study": "a small convnet on fixed maps of all images, for studies on two CPU cores",
    "prior-study": "a linear model on small fixed features of all images, for studies on two CPU cores",
    "faces-small": "a convnet for 64x64 faces on two CPU cores, minutes",
    "faces-paper": "WRN-16-4 for 64x64 faces, a GPU and hours",
    "faces-study": "a smaller convnet for studies of many trainings on 1,000 faces of 32x32, a minute each",
    **{
        f"{data}-eps{epsilon}": f"a linear model on fixed features of {data} at epsilon {epsilon}, minutes on two cores"
        for data in ("cifar10", "cifar10s", "cifar100", "celeba-smiling")
        for epsilon in ((8,) if data == "celeba-smiling" else (1, 2, 4, 8))
    },
}
"""Recipes that come with the package, and what each is for."""


def default_recipe_name(data: str) -> str:
    """The recipe for a data set when none is asked for."""
    return NAMED_DATA[data].recipe if data in NAMED_DATA else OTHERS_RECIPE


def load_recipe(source: str | Path, *, defaults: Mapping[str, Any] | None = None, **overrides: Any) -> Recipe:
    """A recipe by name, or from a TOML file.

    A file holds the recipe's keys; keys in a table ``[with_budget]`` or ``[without_budget]`` count only when a budget
    is (not) given, which is how one name serves both.  ``overrides`` (those not None) win over everything, and the
    file wins over ``defaults``.

    Raises:
      InputError: no such name or file, no TOML, unknown keys, or values out of range.
    """
    try:
        return _load(source, defaults or {}, overrides)
    except InputError as error:  # which of several recipes is wrong; a name that is none is in the message already
        raise InputError(str(error) if str(source) in str(error) else f"the recipe {source}: {error}") from error
    except RecursionError as error:
        raise InputError(f"the recipe {source} is nested too deep: its values are numbers, words and lists") from error


def _load(source: str | Path, defaults: Mapping[str, Any], overrides: dict[str, Any]) -> Recipe:
    values = {**defaults, **read_recipe(source)}
    values.pop("data", None)
    with_budget, without_budget = values.pop("with_budget", {}), values.pop("without_budget", {})
    chosen = {key: value for key, value in overrides.items() if value is not None}
    private = (values | chosen).get("epsilon") is not None
    for table in (with_budget, without_budget):
        if not isinstance(table, dict):
            raise InputError(f"with_budget and without_budget in the recipe {source} must be tables")
        Recipe.from_dict({key: value for key, value in table.items() if key != "delta"})
    return Recipe.from_dict(values | (with_budget if private else without_budget) | chosen)


def read_recipe(source: str | Path) -> dict[str, Any]:
    """The values of a recipe's file as they are written.

    Raises:
      InputError: no such name or file, or no TOML.
    """
    folder = resources.files("trilemma.training").joinpath("recipes")
    table = None
    if str(source) in NAMED:
        file = folder.joinpath(f"{source}.toml")
        if not file.is_file():  # one of several in a file
            several = "cifar100" if str(source).startswith("cifar100-") else "frontier"
            file, table = folder.joinpath(f"{several}.toml"), str(source)
        values = tomllib.loads(file.read_text("utf-8"))
    elif Path(source).is_file():
        values = read_toml(Path(source), f"the recipe {source}")
    else:
        raise InputError(
            f"no recipe {str(source)!r}{did_you_mean(str(source), NAMED)}: "
            f"give a TOML file or one of {', '.join(NAMED)}"
        )
    return values | values.pop("of")[table] if table else values


def _check(name: str, value: float, low: float, high: float | None, *, open_low: bool = False) -> None:
    fine = math.isfinite(value) and (value > low if open_low else value >= low)
    if not fine or (high is not None and value > high):
        bound = f"{'more than' if open_low else 'at least'} {low}" + ("" if high is None else f", at most {high}")
        raise InputError(f"{name} must be {bound}, not {value}")


def _own_names(names: Any, kind: str) -> tuple[str, ...]:
    """Names from outside, given as a sequence or as text with commas."""
    words = names.replace(",", " ").split() if isinstance(names, str) else [str(name) for name in names]
    for word in words:
        if not is_outside(word, kind):
            raise InputError(f"{kind} in a recipe are your own, as module:name; {word!r} is not one")
    return tuple(dict.fromkeys(words))


def _plain(name: str, value: Any, annotation: str) -> Any:
    """A number or truth value as Python's own, whatever a sweep over numpy's gives, so that it can be written down.

    Python's own numbers stay as they are: a recipe's fingerprint tells 20 from 20.0.

    Raises:
      InputError: it is of another kind.
    """
    kind = annotation.split(" |")[0]
    if kind not in ("int", "float", "bool") or (value is None and "None" in annotation):
        return value
    truth = isinstance(value, (bool, np.bool_))
    wanted = {"int": numbers.Integral, "float": numbers.Real}
    if truth != (kind == "bool") or not (truth or isinstance(value, wanted[kind])):
        words = {"int": "a whole number", "float": "a number", "bool": "True or False"}[kind]
        raise InputError(f"{name} must be {words}, not {value!r}")
    if truth:
        return bool(value)
    if type(value) is not int and isinstance(value, numbers.Integral):
        return int(value)
    return value if type(value) is int else float(value) + 0.0  # -0.0 is 0.0, whose text is another


def _check_type(key: str, value: Any, annotation: str) -> None:
    """TOML and JSON know types: a number in quotes is a slip that should not wait for the first update."""
    if value is None and "None" in annotation:
        return
    wanted: dict[str, tuple[type, ...]] = {
        "bool": (bool,),
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "tuple": (list, tuple, str),
        "Schedule": (str,),
    }
    kind = annotation.split("[")[0].split(" |")[0]
    if not isinstance(value, wanted[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise InputError(f"recipe key {key!r} must be a {annotation}, not {value!r}")
