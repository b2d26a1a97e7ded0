"""The techniques that a recipe can switch on.

A technique is one entry of :data:`TECHNIQUES`, and the code of ``trilemma.training`` that asks ``recipe.has(code)``.
Which techniques the paper compares, and in which order, is a fact about the paper and is kept apart from the registry:
another technique changes neither what "all" means in the paper's studies nor what its claims are about.  A technique
from outside (``module:name``) is a function of the gradient, see :mod:`trilemma.training.own`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trilemma.errors import InputError
from trilemma.hints import did_you_mean
from trilemma.outside import is_outside

Changes = Literal["batch size", "network", "views", "weights", "gradient"]


@dataclass(frozen=True)
class Technique:
    """A switch of a recipe.

    Attributes:
      code: what recipes, tables and figures call it (figures in capitals).
      name: in full.
      meaning: what it does, in one line.
      source: where it comes from.
      changes: what of a training it changes: the size of the logical batch, the layers of the network, the views of an
        example, the weights that are evaluated, or where the gradient is taken.
      settings: the fields of a recipe that have an effect under this technique alone.
    """

    code: str
    name: str
    meaning: str
    source: str
    changes: Changes
    settings: tuple[str, ...] = ()


_TABLE = (
    Technique(
        "obs",
        "optimal batch size",
        "picks the logical batch with the least noise per update; without a budget, by the gradient noise scale",
        "De et al. 2022; Sander et al. 2023; McCandlish et al. 2018",
        "batch size",
        ("fewest_updates",),
    ),
    Technique(
        "gn",
        "group normalization",
        "normalizes groups of channels of one example, so that no example's gradient depends on another example",
        "Wu and He 2018; De et al. 2022",
        "network",
        ("norm_groups",),
    ),
    Technique(
        "ws",
        "weight standardization",
        "gives every convolution filter mean zero and a fixed scale",
        "Qiao et al. 2019; Brock et al. 2021; De et al. 2022",
        "network",
    ),
    Technique(
        "am",
        "augmentation multiplicity",
        "averages an example's gradient over several augmented views before it is clipped",
        "Hoffer et al. 2019; De et al. 2022",
        "views",
        ("views", "shift", "flips"),
    ),
    Technique(
        "pa",
        "parameter averaging",
        "evaluates an exponential moving average of the weights in place of the last ones",
        "Polyak and Juditsky 1992; De et al. 2022",
        "weights",
        ("average_decay",),
    ),
    Technique(
        "sat",
        "sharpness-aware training",
        "takes the gradient where the loss nearby is higher, with the direction of the update before",
        "Foret et al. 2021; Park et al. 2023",
        "gradient",
        ("sharpness_radius",),
    ),
)

TECHNIQUES: dict[str, Technique] = {technique.code: technique for technique in _TABLE}
"""All techniques by code.  None of them is the baseline, BL."""

PAPER_TECHNIQUES: tuple[str, ...] = ("obs", "gn", "ws", "am", "pa", "sat")
"""Those that the paper compares, in its order; "all" in a recipe, a study, a figure and a claim means these."""


def _code(word: str) -> str:
    """Our own codes in either case; a name from outside as it is."""
    return word.lower() if word.lower() in (*TECHNIQUES, "all", "none", "bl", "baseline") else word


def parse_techniques(techniques: str | Iterable[str]) -> tuple[str, ...]:
    """Codes, each once: the paper's in its order, others in that of ``TECHNIQUES``, and names from outside as given.

    >>> parse_techniques("sat, mine:Own, GN"), parse_techniques("none")
    (('gn', 'sat', 'mine:Own'), ())

    Raises:
      InputError: an unknown code.
    """
    words = techniques.replace(",", " ").split() if isinstance(techniques, str) else list(techniques)
    codes = [_code(str(word).strip()) for word in words]
    codes = [code for word in codes for code in (PAPER_TECHNIQUES if word == "all" else (word,))]
    codes = [code for code in codes if code not in ("none", "bl", "baseline")]
    for code in codes:
        if code not in TECHNIQUES and not is_outside(code, "techniques"):
            raise InputError(
                f"unknown technique {code!r}{did_you_mean(code, TECHNIQUES)}: "
                f"use any of {', '.join(TECHNIQUES)}, or all, or none, or module:name"
            )
    own = [code for code in dict.fromkeys(codes) if code not in TECHNIQUES]
    return (*(code for code in dict.fromkeys((*PAPER_TECHNIQUES, *TECHNIQUES)) if code in codes), *own)
