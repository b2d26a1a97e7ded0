"""Reference pages made from the code when the site is built, so that they cannot drift from it."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_TERMS = "[Concepts](../concepts.md) explains the terms."
"""The second sentence of each page of the reference."""


def commands_page() -> str:
    """Every command with its options, from the parsers."""
    from trilemma.cli.arguments import parser
    from trilemma.cli.examples import EXAMPLES

    lines = ["# Commands", "", f"Made from the parsers, as `trilemma COMMAND --help` is. {_TERMS}"]
    for name, command in commands(parser()):
        lines += ["", f"## trilemma {name}", "", _text(command.description or ""), "", "```", *EXAMPLES[name], "```"]
        for group in command._action_groups:
            actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
            if rows := [_option_row(name, action) for action in actions]:
                what = "option" if actions[0].option_strings else "argument"
                title = "Arguments" if what == "argument" else (group.title or "").capitalize()
                lines += ["", f"**{title}**", "", _table((what, "meaning", "example"), rows).rstrip()]
        if status := (command.epilog or "").partition("exit status: ")[2]:
            lines += ["", f"Exit status: {status}."]
    return "\n".join(lines) + "\n"


def _option_row(command: str, action: argparse.Action) -> tuple[str, str, str]:
    """An option with its argument, as ``--help`` writes them; its meaning, and its values; an example."""
    meaning = (action.help or "") % {**vars(action), "prog": "trilemma"}
    if action.choices and action.metavar:
        meaning += f". Values: {', '.join(f'`{value}`' for value in action.choices)}"
    if action.default not in (None, argparse.SUPPRESS, [], True, False) and "default" not in meaning:
        meaning += f". Default: `{action.default}`"
    if not action.option_strings:
        needed = "" if action.nargs == "?" else " (required)"
        return f"`{action.metavar}`{needed}", meaning, f"`{positional_example(command, action)}`"
    formatter = argparse.HelpFormatter("trilemma")
    default = formatter._get_default_metavar_for_optional(action)
    argument = "" if action.nargs == 0 else f" {formatter._format_args(action, default)}"
    names = ", ".join(f"`{option}{argument}`" for option in action.option_strings)
    needed = " (required)" if action.required else ""
    return f"{names}{needed}", meaning, f"`{shlex.join(option_example(command, action))}`"


def option_example(command: str, action: argparse.Action) -> list[str]:
    """The words of an option as one may write it."""
    from trilemma.cli.examples import VALUES

    name = action.option_strings[-1]
    return [name] if action.nargs == 0 else [name, VALUES.get(f"{command} {name}", VALUES.get(name, ""))]


def positional_example(command: str, action: argparse.Action) -> str:
    """A value of an argument without a name."""
    from trilemma.cli.examples import VALUES

    return VALUES[f"{command} {action.dest}"]


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
    from trilemma.training.recipe import NAMED, Recipe

    meanings = attribute_meanings(Recipe.__doc__ or "")
    rows = []
    for field in dataclasses.fields(Recipe):
        default = "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
        kind = str(field.type).replace(" | ", " or ")
        rows.append((f"`{field.name}`", f"`{kind}`", UNITS.get(field.name, "–"), default, meanings[field.name]))
    head = "# Recipe keys\n\nKeys of a recipe file (TOML), of `--set KEY=VALUE` and of `trilemma.Recipe`. "
    head += f"{_TERMS}\n\n"
    names = _table(("recipe", "what it is for"), [(f"`{name}`", use) for name, use in NAMED.items()])
    shipped = "## Recipes that come with the package\n\n`--recipe NAME` takes one of these.\n\n"
    return f"{head}{_table(('key', 'type', 'unit', 'default', 'meaning'), rows)}\n{shipped}{names}"


def attribute_meanings(docstring: str, section: str = "Attributes") -> dict[str, str]:
    """What a section of a docstring says of each name, or of several with commas between them."""
    attributes = docstring.partition(f"{section}:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^      (\w+(?:, \w+)*): (.*(?:\n        .*)*)", attributes, re.MULTILINE)
    plain = {names: re.sub(r":\w+:`~?(?:trilemma\.)?", "`", " ".join(words.split())) for names, words in entries}
    return {names: words.replace("``", "`") for names, words in plain.items()}


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


def study_page() -> str:
    """Every key of a study's file: meanings from the classes that hold them, defaults from the code that reads them."""
    from trilemma.study import file

    read = file._Reader("NAME", None).study({"grid": [{"data": "digits"}], "scale": {"NAME": {}}})
    removal = file._Reader("NAME", None)._removal({"shares": [0.1]})
    tables = (
        ("The file", read, "The keys at the top of the file."),
        ("[[grid]]", read.grids[0], "A file has one such table or more, or `parts`."),
        ("[scale.NAME]", read.scales["NAME"], "A file may have such tables, each with a name of your own."),
        ("removal", removal, "The keys of the table `removal` of a grid, written in braces."),
    )
    head = "# Study files\n\nThe keys of a study's file (TOML). "
    head += "[Your own study](../studies.md#your-own-study) has an example. "
    parts = [f"{head}{_TERMS}\n"]
    for title, values, what in tables:
        meanings = attribute_meanings(type(values).__doc__ or "")
        names = {file.IN_FILES.get(name, name): name for name in meanings}
        rows = []
        for key in file.keys_of(type(values)):
            attribute = key if key in meanings else names[key]
            default = _toml(getattr(values, attribute))
            default = "required" if f"{title} {key}" in REQUIRED else f"`{default}`" if default else "–"
            kind = KINDS.get(f"{title} {key}", KINDS[key])
            rows.append((f"`{key}`", kind, default, meanings[attribute]))
        parts.append(f"## {title}\n\n{what}\n\n{_table(('key', 'type', 'default', 'meaning'), rows)}")
    return "\n".join([*parts, _data_keys()])


def _data_keys() -> str:
    """The keys of a table of data, from the arguments of ``load_data``."""
    from trilemma.data import load_data
    from trilemma.study.file import DATA_OPTIONS

    described = attribute_meanings(load_data.__doc__ or "", "Args")
    meanings = {name: meaning for names, meaning in described.items() for name in names.split(", ")}
    defaults = {name: p.default for name, p in inspect.signature(load_data).parameters.items()}
    shown = {inspect.Parameter.empty: "required", None: "–"}
    rows = [(f"`{key}`", shown.get(defaults[key], f"`{defaults[key]}`"), meanings[key]) for key in DATA_OPTIONS]
    what = 'A table of data, such as `{name = "cifar10s", skew = 0.9}`, has the arguments of `tl.load_data`.'
    return f"## data\n\n{what}\n\n{_table(('key', 'default', 'meaning'), rows)}"


KINDS = {
    "title": "text",
    "about": "text",
    "seeds": "whole number, or list of different ones",
    "figures": "name, or list of names",
    "grid": "tables",
    "scale": "tables",
    "parts": "list of names or files",
    "data": "name, table, or list of both",
    "[scale.NAME] data": "table",
    "epsilon": 'number or `"none"`, or list of both',
    "delta": "number",
    "techniques": "text, or list of texts",
    "recipe": "name or file, or list of both",
    "set": "table, or list of tables",
    "[scale.NAME] set": "table",
    "track": "table `{label = 0, first = 8}` of whole numbers",
    "removal": "table",
    "scales": "name, or list of names",
    "own_data": "`true` or `false`",
    "shares": "number, or list of numbers",
    "control": "text",
    "rank": "text",
}
"""How a study's file writes the value of each key."""

REQUIRED = ("[[grid]] data", "removal shares")
"""The keys that a table cannot leave out."""


def _toml(value: object) -> str:
    """A default as a study's file would write it, or "" where there is none to write."""
    from trilemma.words import power

    if value == (None,):
        return '"none"'
    if isinstance(value, float):
        return power(value)
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return str(len(value))  # of seeds, how many
    return json.dumps(value) if isinstance(value, bool | str) and value not in ("", "NAME") else ""


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
    security = (root / "SECURITY.md").read_text("utf-8").replace("(docs/", "(")
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
    "reference/study.md": study_page,
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
    """Words in a cell of a table; code stays as it is."""
    parts = re.split(r"(`[^`]*`)", " ".join(words.split()))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|").replace("<", "&lt;") for part in parts)


def _text(words: str) -> str:
    """Indented lines, which are commands, as a block of code."""
    parts = []
    for block in words.strip().split("\n\n"):
        code = all(line.startswith("  ") for line in block.split("\n"))
        parts.append(f"```\n{block}\n```" if code else block.replace("<", "&lt;"))
    return "\n\n".join(parts)
