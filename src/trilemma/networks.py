"""The networks that a recipe can name, by the form of their names; :mod:`trilemma.models.catalog` builds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trilemma.techniques import PAPER_TECHNIQUES, TECHNIQUES


@dataclass(frozen=True)
class NetworkKind:
    """The networks whose names have one form.

    Attributes:
      form: the form.  A part in brackets may be left out.  A part in capitals stands for a number, but ``NAME`` and
        ``MODULE`` stand for words.
      what: what each of them is, for messages and the glossary.
      example: a name of this form, to be suggested in place of one that is nearly the same; "" for none.
      one: what one of them is, where its name says more than ``what``: ``{0}``, ``{1}``, ... stand for the parts in
        capitals.
      without: the techniques that apply to none of them.
    """

    form: str
    what: str
    example: str = ""
    one: str = ""
    without: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> str:
        """A regular expression of the names, with a group for each part in capitals."""
        optional = re.sub(r"\[(.*)\]", r"(?:\1)?", self.form)
        return re.sub(r"[A-Z]+", lambda part: _PARTS.get(part[0], r"(\d+)"), optional)

    @cached_property
    def head(self) -> str:
        """What all names of this form begin with; "" where nothing is the same in all of them."""
        match = re.match(r"[a-z]+(-[a-z]+)*", self.form)
        return match[0] if match else ""


_PARTS = {"NAME": r"([\w.:/-]*\w)", "MODULE": r"([\w.]+)"}

OF_LAYERS = tuple(code for code, technique in TECHNIQUES.items() if technique.changes == "network")
"""The techniques that decide how a network is built, which networks built elsewhere cannot follow."""

NETWORKS: dict[str, NetworkKind] = {
    kind.form: kind
    for kind in (
        NetworkKind(
            "wrn-DEPTH-WIDTH",
            "a wide ResNet, such as wrn-16-4",
            "wrn-16-4",
            "a wide ResNet, {0} layers deep and {1} times as wide as a plain one",
        ),
        NetworkKind("convnet[-WIDTH]", "a small convolutional network", "convnet"),
        NetworkKind("prior-conv[-WIDTH]", "a small convolutional network on fixed maps of the images", "prior-conv"),
        NetworkKind("prior-xs", "a linear head on a very small set of fixed features", "prior-xs", without=OF_LAYERS),
        NetworkKind("prior-s", "a linear head on a small set of fixed features", "prior-s", without=OF_LAYERS),
        NetworkKind("prior-m", "a linear head on a medium set of fixed features", "prior-m", without=OF_LAYERS),
        NetworkKind("prior-l", "a linear head on a large set of fixed features", "prior-l", without=OF_LAYERS),
        NetworkKind(
            "timm:NAME",
            "a network of the package timm (extra timm)",
            one="a network of the package timm",
            without=("ws",),
        ),
        NetworkKind(
            "MODULE:NAME", "a function of your own", one="a network from outside the package", without=OF_LAYERS
        ),
    )
}
"""Every kind of network by its form.  Of two forms that fit a name, the first holds."""


def networks_in_words() -> str:
    """All of them for a sentence.

    >>> networks_in_words()[:56]
    'wrn-DEPTH-WIDTH (a wide ResNet, such as wrn-16-4), convn'
    """
    return ", ".join(f"{kind.form} ({kind.what})" for kind in NETWORKS.values())


def network_in_words(name: str) -> str:
    """What one network is; "" for a name that is not known.

    >>> network_in_words("wrn-16-4"), network_in_words("convnet-16"), network_in_words("mine:build")[:9]
    ('a wide ResNet, 16 layers deep and 4 times as wide as a plain one', 'a small convolutional network', 'a network')
    """
    for kind in NETWORKS.values():
        if match := re.fullmatch(kind.pattern, name):
            return kind.one.format(*match.groups()) or kind.what
    return ""


def techniques_for(name: str) -> tuple[str, ...]:
    """The paper's techniques that apply to a network, in the paper's order: all, where nothing is known of it.

    >>> techniques_for("prior-s"), len(techniques_for("wrn-16-4"))
    (('obs', 'am', 'pa', 'sat'), 6)
    """
    kind = next((kind for kind in NETWORKS.values() if re.fullmatch(kind.pattern, name)), None)
    return tuple(code for code in PAPER_TECHNIQUES if kind is None or code not in kind.without)


def network_name(model: str, network: str) -> str:
    """The name of the network that a run trained: the recipe's model, or the class of a module that was given.

    Args:
      model: ``recipe.model``.
      network: "recipe", or what the run's ``config.json`` says of a module that was given in its place.

    >>> network_name("convnet", "recipe"), network_name("convnet", "given: Sequential 0f24a1b2c3d4e5f6")
    ('convnet', 'Sequential')
    """
    return model if network == "recipe" else network.removeprefix("given: ").split(" ")[0]


def described_network(config: Mapping[str, Any]) -> tuple[str, str]:
    """The name of the network that a run trained and what it is, "" if that is not known, from its ``config.json``."""
    model, network = config["recipe"]["model"], config.get("network", "recipe")
    what = network_in_words(model) if network == "recipe" else "a module that was given in Python"
    return network_name(model, network), what
