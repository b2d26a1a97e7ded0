"""The pages' templates, and how they are filled in: text from outside is escaped, and what is missing is an error."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import jinja2
from markupsafe import Markup

from trilemma.report.glossary import explained
from trilemma.words import clean


def templates() -> jinja2.Environment:
    """The environment of both pages, with their filters ``clean``, ``explained`` and ``together``."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trilemma.report", "template"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    environment.filters["explained"] = lambda text: explained(clean(text))
    environment.filters["cleaned"] = clean
    environment.filters["together"] = together
    return environment


def together(text: object) -> str:
    """The text with spaces at which no line ends, where a number or ε would be torn from its sign.

    >>> together("ε = 8 for 95 %") == "ε\\u00a0=\\u00a08 for 95\\u00a0%"
    True
    """
    return re.sub(r"(?<=[εδ]) = (?=\S)", "\u00a0=\u00a0", re.sub(r"(?<=\d) (?=%)", "\u00a0", str(text)))


def asset(name: str) -> Markup:
    """A file that a page holds as it stands: ``page.css`` or ``page.js``."""
    return Markup(resources.files("trilemma.report").joinpath("template", name).read_text("utf-8"))


def hash_of(script: str) -> str:
    """A script's hash in the page's policy, which lets it run; nothing else in the page does."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
