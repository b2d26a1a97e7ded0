"""The README and the pages of the docs can be read: no sentence is long, no term comes before its explanation."""

import importlib.util
import inspect
import re

import pytest

import trilemma as tl
from documented import ROOT

DOCS = ROOT / "docs"
PAGES = ["README.md", *sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))]
spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
GENERATED = {f"site/{name}": page for name, page in reference.PAGES.items()}
"""Pages that are made from the code when the site is built."""
MOST_WORDS = 35
TERMS = ("ε", "AUC", "non-members?", "matched", "bias", "skew", "shadow models?", "seeds?", "budget", "ledger", "study")
EXPLANATIONS = ("concepts.md", "guarantee.md", "studies.md", "#")


def paragraphs(text):
    """Paragraphs and items of lists, without blocks of code, tables, headings and images."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = ["" if line.startswith(("|", "#", "!", "<")) else line for line in text.splitlines()]
    parts = re.split(r"\n\s*\n|\n(?=- |\d\. )", "\n".join(lines))
    return [" ".join(part.split()) for part in parts if part.strip()]


def cells(text):
    """The cells of all tables."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [cell.strip() for row in rows for cell in re.split(r"(?<!\\)\|", row) if cell.strip()]


def text_of(page):
    return GENERATED[page]() if page in GENERATED else (ROOT / page).read_text("utf-8")


def sentences(paragraph):
    plain = re.sub(r"`[^`]*`", "CODE", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph))
    return re.split(r"(?<=[.!?:])\*{0,2}\s+(?=[A-Z`*“\"(ε1])|(?<=;)\s+", plain)


def unexplained(text):
    """Terms whose first paragraph neither explains them (in italics or bold), nor comes after a link that does."""
    unexplained, linked = [], False
    defined = set()
    for paragraph in paragraphs(text):
        targets = re.findall(r"\]\(([^)]*)\)", paragraph)
        linked = linked or any(place in target for target in targets for place in EXPLANATIONS)
        for term in TERMS:
            if term in defined or not re.search(rf"(?<![\w`-]){term}(?![\w-])", re.sub(r"`[^`]*`", "", paragraph)):
                continue
            defined.add(term)
            if not linked and not re.search(rf"\*[^*]*{term}[^*]*\*", paragraph):
                unexplained.append(term)
    return unexplained


def long_sentences(parts):
    return [s for part in parts for s in sentences(part) if len(s.split()) > MOST_WORDS]


@pytest.mark.parametrize("page", [*PAGES, *GENERATED, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_no_sentence_is_long(page):
    text = text_of(page)
    parts = [*paragraphs(text), *cells(text)]
    assert parts
    assert long_sentences(parts) == []


@pytest.mark.parametrize("name", sorted(name for name in tl.__all__ if callable(getattr(tl, name))))
def test_no_sentence_of_the_python_reference_is_long(name):
    docstring = re.sub(r"\n *(>>>|\.\.\.) [^\n]*(\n[^\n]+)*", "\n", inspect.getdoc(getattr(tl, name)))
    items = re.sub(r"\n +(?=[\w, ]+: )", "\n\n", docstring)  # each argument, attribute and error
    assert long_sentences(paragraphs(items.replace("``", "`"))) == []


@pytest.mark.parametrize("page", [page for page in [*PAGES, *GENERATED] if page != "docs/concepts.md"])
def test_no_term_comes_before_its_explanation(page):
    """All but in the page that explains them."""
    assert unexplained(text_of(page)) == []


def test_both_rules_see_what_they_are_for():
    assert unexplained("The AUC is 0.6.\n\nSee [concepts](concepts.md).") == ["AUC"]
    assert unexplained("The *AUC* is the probability.") == unexplained("The AUC ([why](concepts.md)).") == []
    assert [len(sentence.split()) for sentence in sentences("One two. Three `a b c` [four five](x.md).")] == [2, 4]
