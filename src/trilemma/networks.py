"""The networks that a recipe can name, by the form of their names; :mod:`trilemma.models.catalog` builds them."""

from __future__ import annotations

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
