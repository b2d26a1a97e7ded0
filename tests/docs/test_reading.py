"""The README and the pages of the docs can be read: no sentence is long, no term comes before its explanation."""

import re

import pytest

from documented import ROOT

DOCS = ROOT / "docs"
TABLES = {"docs/results/planted-errors.md", "docs/results/trust.md", "docs/results/index.md", "docs/tasks/index.md"}
"""Pages of a table or a list of links, without sentences to count."""
PAGES = sorted(
    {"README.md", *(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))} - TABLES,
)
MOST_WORDS = 35
TERMS = ("ε", "AUC", "non-members?", "matched", "bias", "skew", "shadow models?", "seeds?", "budget", "ledger", "study")
EXPLANATIONS = ("concepts.md", "guarantee.md", "studies.md", "#")


def paragraphs(text):
    """Paragraphs and items of lists, without blocks of code, tables, headings and images."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = ["" if line.startswith(("|", "#", "!")) else line for line in text.splitlines()]
    parts = re.split(r"\n\s*\n|\n(?=- |\d\. )", "\n".join(lines))
    return [" ".join(part.split()) for part in parts if part.strip()]


def sentences(paragraph):
    plain = re.sub(r"`[^`]*`", "CODE", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph))
    return re.split(r"(?<=[.!?:])\*{0,2}\s+(?=[A-Z`*“\"(ε1])", plain)


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


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_no_sentence_is_long(page):
    text = (ROOT / page).read_text("utf-8")
    counted = [(len(sentence.split()), sentence) for part in paragraphs(text) for sentence in sentences(part)]
    assert len(counted) >= 5
    assert [pair for pair in counted if pair[0] > MOST_WORDS] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/concepts.md"])  # which is the explanation
def test_no_term_comes_before_its_explanation(page):
    assert unexplained((ROOT / page).read_text("utf-8")) == []


def test_both_rules_see_what_they_are_for():
    assert unexplained("The AUC is 0.6.\n\nSee [concepts](concepts.md).") == ["AUC"]
    assert unexplained("The *AUC* is the probability.") == unexplained("The AUC ([why](concepts.md)).") == []
    assert [len(sentence.split()) for sentence in sentences("One two. Three `a b c` [four five](x.md).")] == [2, 4]
