"""The site's reference names all that the code has, and its pages name no test or page that is not there."""

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from trilemma import paper
from trilemma.cli.arguments import parser
from trilemma.measures import MEASURES
from trilemma.techniques import TECHNIQUES
from trilemma.training.recipe import Recipe
from trilemma.version import __version__

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)


def test_every_command_and_option_is_there():
    page = reference.commands_page()
    for name, command in reference.commands(parser()):
        part = page.split(f"## trilemma {name}\n")[1].split("\n## ")[0]
        for action in command._actions:
            for option in action.option_strings:
                assert f"`{option}`" in part
    assert "%(" not in page


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
    assert all(f": {name}\n" in config for name in reference.PAGES), "a page that no menu leads to"


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
