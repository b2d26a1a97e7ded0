"""What the site's search puts first: pages that explain and help, before those on results (a hook of MkDocs)."""

from __future__ import annotations

from typing import Any

WEIGHTS = {
    "index.md": 2.0,
    "concepts.md": 4.0,
    "faq.md": 3.0,
    "tasks/": 3.0,
    "studies.md": 2.0,
    "extend.md": 2.0,
    "guarantee.md": 0.5,
    "sharp-edges.md": 0.5,
    "results/": 0.3,
    "changelog.md": 0.3,
}
"""How much a word weighs on a page, by how its address begins; 1 on all others."""


def weight(address: str) -> float:
    """How much a word weighs on the page.

    >>> weight("concepts.md"), weight("tasks/train.md"), weight("results/index.md"), weight("compare.md")
    (4.0, 3.0, 0.3, 1.0)
    """
    return next((value for start, value in WEIGHTS.items() if address.startswith(start)), 1.0)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> None:
    """The theme's search reads the weight from the page (called by MkDocs)."""
    page.meta.setdefault("search", {})["boost"] = weight(page.file.src_uri)
