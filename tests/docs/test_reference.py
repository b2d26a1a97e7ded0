"""The site's reference names all that the code has, and its pages name no test or page that is not there."""

import argparse
import dataclasses
import importlib
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import trilemma as tl
from trilemma import paper
from trilemma.cli.arguments import parser
from trilemma.cli.examples import VALUES
from trilemma.errors import InputError
from trilemma.measures import MEASURES
from trilemma.study.file import read_study
from trilemma.techniques import TECHNIQUES
from trilemma.training.recipe import Recipe
from trilemma.version import __version__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def of_docs(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference, python_pages, docstrings = of_docs("reference"), of_docs("python_pages"), of_docs("docstrings")
PAGES = {**reference.PAGES, **python_pages.PAGES}


def rows(text):
    """The rows of all tables, without their heads, by the code that their first cells begin with."""
    tables = re.findall(r"^\|[-|]+\|\n((?:\|[^\n]*\n)+)", text, re.MULTILINE)
    return {re.match(r"\| `([^`]+)`", row)[1]: row for table in tables for row in table.splitlines()}


def test_every_command_and_option_is_there_as_help_writes_it():
    """With its argument, the values that it may have, and whether it is required."""
    page = reference.commands_page()
    for name, command in reference.commands(parser()):
        table = rows(page.split(f"## trilemma {name}\n")[1].split("\n## ")[0])
        helped = command.format_help().replace("\n", " ")
        for action in command._actions:
            head = argparse.HelpFormatter("")._format_action_invocation(action).split(", ")[0]
            row = table[action.metavar if not action.option_strings else head]
            assert head in helped
            assert all(value in row for value in action.choices or ())
            optional = not action.option_strings and action.nargs == "?"
            assert ("(required)" in row) == (action.required and not optional), row
            if isinstance(action.default, str | int) and not isinstance(action.default, bool):
                assert action.default == argparse.SUPPRESS or str(action.default) in row, row
    assert "%(" not in page


def test_every_option_has_an_example_that_its_parser_takes():
    used = set()
    for name, command in reference.commands(parser()):
        for action in command._actions:
            if action.nargs == 0:
                continue
            key = f"{name} {action.option_strings[-1]}" if action.option_strings else f"{name} {action.dest}"
            key = key if key in VALUES else action.option_strings[-1]
            used.add(key)
            value = command._get_value(action, VALUES[key])
            command._check_value(action, value)
    assert used == set(VALUES), "an example of an option that is not there"


def test_every_key_of_a_study_file_is_there_with_its_default(tmp_path):
    """The reader's own list of each table's keys; and a file that states a default is read as one that does not."""
    parts = {part.split("\n")[0]: rows(part) for part in reference.study_page().split("\n## ")[1:]}
    minimal = (
        '{file}\n[scale.NAME]\n{scale}\n[[grid]]\ndata = ["digits"]\n{grid}\nremoval = {{shares = [0.1]{removal}}}\n'
    )
    empty = {"file": "", "scale": "", "grid": "", "removal": ""}
    path = tmp_path / "NAME.toml"

    def read(**values):
        path.write_text(minimal.format(**{**empty, **values}))
        return dataclasses.replace(read_study(path), raw={})

    stated = 0
    tables = {"The file": "file", "[scale.NAME]": "scale", "[[grid]]": "grid", "removal": "removal"}
    for title, place in tables.items():
        with pytest.raises(InputError, match="unknown key 'zzz'") as refusal:
            read(**{place: ", zzz = 1" if place == "removal" else "zzz = 1"})
        assert str(refusal.value).split("it may have ")[1].split(", ") == list(parts[title])
        for key, row in parts[title].items():
            default = row.split(" | ")[2].strip("`")
            if default not in ("–", "required"):
                tomllib.loads(f"{key} = {default}")
                comma = ", " if place == "removal" else ""
                assert read(**{place: f"{comma}{key} = {default}"}) == read(), row
                stated += 1
    assert stated == 7
    assert {"name", "skew", "limit"} <= set(parts["data"])


def test_every_public_name_of_python_is_there_once_under_the_name_that_users_write():
    names = [name for page in python_pages.PYTHON_PAGES for name in python_pages.documented(page)]
    homes = [home for page in python_pages.PYTHON_PAGES for home in python_pages.documented(page).values()]
    assert len(set(homes)) == len(homes)
    for prefix, package in (
        ("tl", tl),
        ("tl.privacy", tl.privacy),
        ("tl.attacks", tl.attacks),
        ("tl.models", tl.models),
    ):
        for name in package.__all__:
            value = getattr(package, name)
            if callable(value):
                home = f"{value.__module__}.{value.__qualname__}"
                assert f"{prefix}.{name}" in names or home in homes
                assert getattr(importlib.import_module(value.__module__), value.__qualname__) is value
    page = python_pages.PAGES["reference/python.md"]()
    assert "::: trilemma.training.canaries.Canaries\n    options:\n      heading: tl.Canaries\n" in page
    gallery = (DOCS / "gallery.md").read_text("utf-8")
    imported = re.findall(r"^from (trilemma\S*) import (.+)$", gallery, re.MULTILINE)
    assert {f"{module}.{name}" for module, line in imported for name in line.split(", ")} == set(python_pages.DRAWING)


def test_roles_become_links_and_examples_become_code():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="reference/python.md"))
    html = ":func:<code>audit</code>, :meth:<code>logits</code>, :func:<code>~trilemma.attacks.lira.lira_scores</code>"
    assert python_pages.on_page_content(html, page, None, None) == (
        '<autoref identifier="trilemma.attacks.audit.audit"><code>audit</code></autoref>, <code>logits</code>, '
        '<autoref identifier="trilemma.attacks.lira.lira_scores"><code>lira_scores</code></autoref>'
    )
    assert docstrings.fenced("A.\n\n>>> 1 + 1\n2\n\nB.") == "A.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nB."


def test_every_item_of_the_python_reference_is_one_name_or_what_is_returned():
    """Guards: "mean, std" read as a name and its type, and words before a colon as the name of what is returned."""
    griffe = pytest.importorskip("griffe")
    (words,) = re.findall(r"docstring_options: {([^}]*)}", (ROOT / "mkdocs.yml").read_text("utf-8"))
    options = {name: value == "true" for name, value in re.findall(r"(\w+): (\w+)", words)}
    extensions = griffe.load_extensions(str(DOCS / "docstrings.py"))
    package = griffe.load("trilemma", search_paths=[str(ROOT / "src")], extensions=extensions)
    items, wrong = 0, []

    def read(thing):
        nonlocal items
        sections = thing.docstring.parse("google", **options) if thing.docstring else []
        for section in (section for section in sections if section.kind.value in ("parameters", "attributes")):
            names = [item.name for item in section.value]
            items += len(names)
            own = thing.parameters if section.kind.value == "parameters" else thing.all_members
            wrong.extend(f"{thing.path}: {name}" for name in names if name not in own)
        for section in (section for section in sections if section.kind.value == "returns"):
            items += 1
            returned = [(item.name, str(item.annotation)) for item in section.value]
            if returned != [("", str(thing.returns))]:
                wrong.append(f"{thing.path}: {returned}")
        if thing.is_class:
            for name, member in thing.members.items():
                if not name.startswith("_") and not member.is_alias:
                    read(member)

    for page in python_pages.PYTHON_PAGES:
        for home in python_pages.documented(page).values():
            read(package[home.removeprefix("trilemma.")])
    assert wrong == []
    assert items > 300
    shared = docstrings.one_item_a_name("Attributes:\n  low, high: the\n    ends.\n  n: how many: 3.")
    assert shared == "Attributes:\n  low: the\n    ends.\n  high: the\n    ends.\n  n: how many: 3."


def test_every_option_has_a_meaning():
    """Guards: an option whose row in the reference, and whose line in ``--help``, is empty."""
    for name, command in reference.commands(parser()):
        silent = [action.dest for action in command._actions if not (action.help or "").strip()]
        assert silent == [], name


def test_every_recipe_key_has_a_meaning():
    page = reference.recipe_page()
    for field in dataclasses.fields(Recipe):
        row = next(line for line in page.split("\n") if line.startswith(f"| `{field.name}` |"))
        assert len(row.split(" | ")[-1]) > 8, row


def test_every_number_of_a_recipe_has_a_unit():
    """Guards: a key that is added without its unit, and a unit of a key that is gone or is no number."""
    numeric = {field.name for field in dataclasses.fields(Recipe) if re.match("(int|float)", str(field.type))}
    assert set(reference.UNITS) == numeric
    assert "| `shift` | `int or None` | pixels | `None` |" in reference.recipe_page()


def test_every_measure_and_technique_is_there():
    assert all(f"`{name}`" in reference.measures_page() for name in MEASURES)
    assert all(technique.name in reference.techniques_page() for technique in TECHNIQUES.values())


def test_the_tests_that_pages_name_exist():
    for page in (DOCS / "sharp-edges.md", DOCS / "guarantee.md"):
        names = set(re.findall(r"`(tests/[\w/]+\.py)(?:::\w+)?`", page.read_text("utf-8")))
        assert len(names) > 10
        assert [name for name in names if not (ROOT / name).is_file()] == []


def sharp_edges():
    """The cells of each row of the page's two tables: of the errors, and of the tests."""
    tables = re.findall(r"\n\| error [^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", (DOCS / "sharp-edges.md").read_text("utf-8"))
    return [[[c.strip() for c in line.strip("| ").split(" | ")] for line in rows.splitlines()] for rows in tables]


def test_every_sharp_edge_has_a_severity_a_source_a_guard_and_a_test():
    errors, tests = sharp_edges()
    assert all(len(row) == 6 and all(row) for row in errors)
    assert {row[1] for row in errors} == {"breaks", "weakens", "fails", "harms"}
    without = [row[0] for row in errors if "`tests/" not in row[5]]
    assert without == ["attacks on floating-point noise"]  # a stated limit
    assert [row[0] for row in tests] == [row[0] for row in errors if row[0] not in without]


def test_the_test_of_every_sharp_edge_is_one_that_fails_when_its_error_is_planted():
    """Every named function exists, and one of each row sees an error of that row in the catalog of planted errors.

    ``make mutants`` runs these tests on the planted errors.  The page has the catalog's rows in their order, and
    splits two of them.
    """
    sys.path.insert(0, str(ROOT / "tests" / "mutants"))
    from catalog import ERRORS, NOT_PLANTED, PITFALLS

    errors, tests = sharp_edges()
    tests_of = dict(tests)
    split = ("private-statistics", "traversal")
    pitfalls = [key for key in PITFALLS for _ in range(2 if key in split else 1)]
    for pitfall, row in zip(pitfalls, errors, strict=True):
        words = tests_of.get(row[0], "")
        named = re.findall(r"`tests/([\w/]+\.py)::(\w+)`", words)
        assert words.count("`tests/") == len(named)
        assert {f"`tests/{file}`" for file, _ in named} == set(re.findall(r"`tests/[^`]+`", row[5]))
        for file, name in named:
            assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file} has no {name}"
        seen_by = {test.split("[")[0] for error in ERRORS if error.pitfall == pitfall for test in error.tests}
        assert pitfall in NOT_PLANTED or seen_by & {f"{file}::{name}" for file, name in named}, row[0]


def test_the_site_says_how_to_cite_and_how_to_report_a_vulnerability():
    page = reference.cite_page()
    assert paper.CITATION.split(" arXiv:")[0] in page
    assert f"version: {__version__}\n" in page, "CITATION.cff is of another version"
    assert "report it to the maintainers in private" in page
    config = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert all(f": {name}\n" in config for name in PAGES), "a page that no menu leads to"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_somewhere(page):
    """What the strict build of the site checks, without building it."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).is_file(), target


def test_the_paper_is_cited_in_one_way():
    for name in ("CITATION.cff", "docs/paper.md"):
        words = " ".join((ROOT / name).read_text("utf-8").split())
        assert paper.TITLE in words
        assert paper.ARXIV in words
        assert all(author.split()[-1] in words for author in paper.AUTHORS)
