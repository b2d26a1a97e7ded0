"""Reference pages made from the code when the site is built, so that they cannot drift from it."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_TERMS = "[Concepts](../concepts.md) explains the terms."
"""The second sentence of each page of the reference."""


def commands_page() -> str:
    """Every command with its options, from the parsers."""
    from trilemma.cli.arguments import parser
    from trilemma.cli.examples import EXAMPLES

    lines = ["# Commands", "", f"Made from the parsers; `trilemma COMMAND --help` says the same. {_TERMS}"]
    for name, command in commands(parser()):
        lines += [
            "",
            f"## trilemma {name}",
            "",
            _text(command.description or ""),
            "",
            "```",
            *EXAMPLES[name],
            "```",
            "",
            "| option | meaning |",
            "|---|---|",
        ]
        for action in command._actions:
            if action.help == argparse.SUPPRESS:
                continue
            words = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{action.metavar or action.dest}`"
            lines.append(f"| {words} | {_cell((action.help or '') % _values(action))} |")
    return "\n".join(lines) + "\n"


def commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """(name, parser) of every command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


UNITS = {
    "epsilon": "nats",
    "delta": "probability",
    "clipping_norm": "norm of a gradient",
    "batch_size": "examples",
    "epochs": "training sets",
    "fewest_updates": "updates",
    "learning_rate": "step per gradient",
    "warmup": "share of the updates",
    "momentum": "share kept per update",
    "weight_decay": "per update and learning rate",
    "label_smoothing": "share of the target",
    "norm_groups": "groups",
    "views": "views per example",
    "shift": "pixels",
    "average_decay": "share kept per update",
    "sharpness_radius": "norm of a step of the weights",
    "evaluations": "times per run",
    "seed": "none",
    "prior_seed": "none",
    "pretrain_updates": "updates",
    "head_first": "share of the updates",
    "head_rate": "multiple of the learning rate",
}
"""The unit of each key whose value is a number."""


def recipe_page() -> str:
    """Every key of a recipe with its type, unit, default and meaning, from the dataclass."""
    from trilemma.training.recipe import Recipe

    meanings = attribute_meanings(Recipe.__doc__ or "")
    rows = []
    for field in dataclasses.fields(Recipe):
        default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
        kind = str(field.type).replace(" | ", " or ")
        rows.append((f"`{field.name}`", f"`{kind}`", UNITS.get(field.name, "–"), default, meanings[field.name]))
    head = "# Recipe keys\n\nKeys of a recipe file (TOML), of `--set KEY=VALUE` and of `trilemma.Recipe`. "
    head += f"{_TERMS}\n\n"
    return head + _table(("key", "type", "unit", "default", "meaning"), rows)


def attribute_meanings(docstring: str) -> dict[str, str]:
    """What a docstring's Attributes say of each name."""
    attributes = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^      (\w+): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    return {name: " ".join(meaning.split()).replace("``", "`") for name, meaning in entries}


def measures_page() -> str:
    """Every measure, from the table of measures."""
    from trilemma.measures import MEASURES

    rows = [
        (f"`{m.name}`", m.title, m.meaning, m.unit or "number", m.better or "–", "yes" if m.covered else "no")
        for m in MEASURES.values()
    ]
    head = "# Measures\n\nWhat `results.csv` holds. A word in capitals stands for a group, an attack or an index. "
    head += f"{_TERMS}\n\n"
    return head + _table(("name", "on pages", "meaning", "unit", "better", "covered by the guarantee"), rows)


def techniques_page() -> str:
    """Every technique, from the table of techniques."""
    from trilemma.techniques import TECHNIQUES

    rows = [(f"`{t.code}`", t.name, t.meaning, t.source) for t in TECHNIQUES.values()]
    return f"# Techniques\n\nWhat `--techniques` switches on. {_TERMS}\n\n" + _table(
        ("code", "name", "what it does", "source"), rows
    )


def python_page() -> str:
    """The public names, whose docstrings the site shows."""
    import trilemma

    names = [f"trilemma.{trilemma._HOME[name]}.{name}" for name in sorted(trilemma.__all__) if name in trilemma._HOME]
    return (
        f"# Python\n\nThe public names, from their docstrings. {_TERMS}\n\n"
        + "\n\n".join(f"::: {name}" for name in names)
        + "\n"
    )


def changelog_page() -> str:
    """The changelog, which stands beside the README; its links to files outside the site become words."""
    text = (Path(__file__).parent.parent / "CHANGELOG.md").read_text("utf-8")
    words = re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"`\1`", text)
    return words.replace("# Changelog\n", "# Changelog\n\n[Concepts](concepts.md) explains the terms.\n", 1)


def cite_page() -> str:
    """How to cite, from ``CITATION.cff``, and how to report a vulnerability, from ``SECURITY.md``."""
    from trilemma import paper
    from trilemma.version import __version__

    root = Path(__file__).parent.parent
    security = (root / "SECURITY.md").read_text("utf-8").replace("(docs/guarantee.md)", "(guarantee.md)")
    return "\n".join(
        [
            "# How to cite, and how to report a vulnerability",
            "",
            "## How to cite",
            "",
            f"Please cite Trilemma, version {__version__}, and the paper whose [study](studies.md) it repeats:",
            "",
            f"- The Trilemma authors: Trilemma, version {__version__}, 2026.",
            f"- {paper.CITATION.replace(f'arXiv:{paper.ARXIV}', f'[arXiv:{paper.ARXIV}]({paper.URL})')}",
            "",
            "`CITATION.cff` beside the README says the same in a form that reference managers read:",
            "",
            "```yaml",
            (root / "CITATION.cff").read_text("utf-8").strip(),
            "```",
            "",
            security.replace("# Security", "## How to report a vulnerability", 1),
        ]
    )


def notebook_page(name: str) -> Callable[[], str]:
    """The page of a notebook, with the output that a test compares with what its cells give."""

    def page() -> str:
        spec = importlib.util.spec_from_file_location("notebooks", Path(__file__).parent / "notebooks.py")
        assert spec is not None
        assert spec.loader is not None
        notebooks = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(notebooks)
        return str(notebooks.page_of(notebooks.FOLDER / f"{name}.ipynb"))

    return page


PAGES = {
    "notebooks/first-study.md": notebook_page("first-study"),
    "notebooks/strangers-model.md": notebook_page("strangers-model"),
    "changelog.md": changelog_page,
    "cite.md": cite_page,
    "reference/commands.md": commands_page,
    "reference/recipe.md": recipe_page,
    "reference/measures.md": measures_page,
    "reference/techniques.md": techniques_page,
    "reference/python.md": python_page,
}


def on_files(files, config):  # type: ignore[no-untyped-def]
    """Add the pages (called by MkDocs)."""
    from mkdocs.structure.files import File

    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    return files


def on_page_markdown(markdown, page, config, files):  # type: ignore[no-untyped-def]
    """In the site, a link to a notebook leads to its page (called by MkDocs)."""
    return re.sub(r"\((notebooks/[\w-]+)\.ipynb\)", r"(\1.md)", markdown)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|").replace("<", "&lt;")


def _text(words: str) -> str:
    """Indented lines, which are commands, as a block of code."""
    parts = []
    for block in words.strip().split("\n\n"):
        code = all(line.startswith("  ") for line in block.split("\n"))
        parts.append(f"```\n{block}\n```" if code else block.replace("<", "&lt;"))
    return "\n\n".join(parts)


def _values(action: argparse.Action) -> dict[str, object]:
    return {**vars(action), "prog": "trilemma"}
