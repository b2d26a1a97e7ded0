"""Reference pages on Python, with the docstrings of the public names under the names that users write."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable

TERMS = "[Concepts](../concepts.md) explains the terms."
"""The last sentence at the top of each page."""

PYTHON_PAGES = {
    "python": ("Python", "tl", "trilemma", "The names of `import trilemma as tl`."),
    "privacy": (
        "Python: tl.privacy",
        "tl.privacy",
        "trilemma.privacy",
        "For a [loop of your own](../tasks/loop.md).",
    ),
    "attacks": (
        "Python: tl.attacks",
        "tl.attacks",
        "trilemma.attacks",
        "Attacks and ROC curves.",
    ),
    "data": ("Python: tl.data", "tl.data", "trilemma.data", "Data sets."),
    "models": ("Python: tl.models", "tl.models", "trilemma.models", "Networks."),
    "fairness": ("Python: tl.fairness", "tl.fairness", "trilemma.fairness", "Bias, and measures by group."),
    "harmonic": ("Python: tl.harmonic", "tl.harmonic", "trilemma.harmonic", "The harmonic score and its intervals."),
    "drawing": ("Python: figures", "", "", "What the [gallery](../gallery.md) draws figures with."),
}
"""By name, the pages on Python: title, what stands before a name, the package, and what it is for."""

DRAWING = (
    "trilemma.analysis.results.read_results",
    "trilemma.report.figures.catalog.draw_numbers",
    "trilemma.report.numbers.Numbers",
    "trilemma.report.study_roc.roc_panels",
    "trilemma.report.study_roc.attack_looks",
    "trilemma.report.study_roc.save_panels",
    "trilemma.report.drawing.save_figure",
    "trilemma.files.read_json",
)
"""The names that the gallery imports."""


def documented(page: str) -> dict[str, str]:
    """What a page on Python documents: by the name that users write, where it is defined.

    A name that stands on an earlier page is left out, and so is what is neither a class nor a function.
    """
    _, prefix, package, _ = PYTHON_PAGES[page]
    if not package:
        return {name: name for name in DRAWING}
    module = importlib.import_module(package)
    names = {}
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == package]
    for name in sorted(getattr(module, "__all__", [name for name in own if not name.startswith("_")])):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            names[f"{prefix}.{name}"] = f"{value.__module__}.{value.__qualname__}"
    if page in ("python", "privacy"):
        return names
    return {name: home for name, home in names.items() if home not in documented("python").values()}


def page_of(page: str) -> Callable[[], str]:
    """The page of the public names of a package, whose docstrings the site shows."""

    def text() -> str:
        title, _, _, what = PYTHON_PAGES[page]
        parts = [f"# {title}\n\n{what} {TERMS}"]
        for name, home in documented(page).items():
            parts.append(f"::: {home}\n    options:\n      heading: {name}\n      toc_label: {name}")
        return "\n\n".join(parts) + "\n"

    return text


_ROLE = re.compile(r":(?:func|class|mod|meth|data|attr):<code>([^<]+)</code>")


def on_page_content(html, page, config, files):  # type: ignore[no-untyped-def]
    """Roles of docstrings become links, or code where the site has nothing on a name (called by MkDocs)."""
    if not page.file.src_uri.startswith("reference/"):
        return html
    homes = {name: home for known in PYTHON_PAGES for name, home in documented(known).items()}
    ends = {name.split(".")[-1]: home for name, home in reversed(homes.items())}

    def link(role: re.Match[str]) -> str:
        name = role[1].removeprefix("~")
        words = name.split(".")[-1] if role[1].startswith("~") else name
        home = ends.get(name.split(".")[-1]) if name.count(".") == 0 or name.startswith("trilemma.") else None
        code = f"<code>{words}</code>"
        return f'<autoref identifier="{home}">{code}</autoref>' if home else code

    return _ROLE.sub(link, html)


PAGES = {f"reference/{'python' if name == 'python' else f'python-{name}'}.md": page_of(name) for name in PYTHON_PAGES}


def on_files(files, config):  # type: ignore[no-untyped-def]
    """Add the pages (called by MkDocs)."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files
