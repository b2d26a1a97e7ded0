"""The networks that a recipe can name, by the form of their names; :mod:`trilemma.models.catalog` builds them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

NETWORKS: dict[str, str] = {
    "wrn-DEPTH-WIDTH": "a wide ResNet, such as wrn-16-4",
    "convnet[-WIDTH]": "a small convolutional network",
    "prior-conv[-WIDTH]": "a small convolutional network on fixed maps of the images",
    "prior-s": "a linear head on fixed features",
    "prior-m": "a linear head on more fixed features",
    "prior-l": "a linear head on the most fixed features",
    "timm:NAME": "a network of timm (extra timm)",
    "module:name": "a function of your own",
}
"""What each is, by the form of its name; a part in brackets may be left out."""


def networks_in_words() -> str:
    """All of them for a sentence.

    >>> networks_in_words()[:56]
    'wrn-DEPTH-WIDTH (a wide ResNet, such as wrn-16-4), convn'
    """
    return ", ".join(f"{form} ({what})" for form, what in NETWORKS.items())


_IN_WORDS = (
    (r"wrn-(\d+)-(\d+)", r"a wide ResNet, \1 layers deep and \2 times as wide as a plain one"),
    (r"convnet(-\d+)?", "a small convolutional network"),
    (r"prior-conv(-\d+)?", "a small convolutional network on fixed maps of the images"),
    (r"prior-[sml]", "a linear model on fixed features"),
    (r"timm:.*", "a network of the package timm"),
    (r".*:.*", "a network from outside the package"),
)


def network_in_words(name: str) -> str:
    """What one network is; "" for a name that is not known.

    >>> network_in_words("wrn-16-4"), network_in_words("convnet-16"), network_in_words("mine:build")[:9]
    ('a wide ResNet, 16 layers deep and 4 times as wide as a plain one', 'a small convolutional network', 'a network')
    """
    for form, words in _IN_WORDS:
        if match := re.fullmatch(form, name):
            return match.expand(words)
    return ""


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
