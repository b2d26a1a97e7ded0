"""The README and the pages of the docs can be read: no sentence is long, no term comes before its explanation."""

import functools
import importlib.util
import inspect
import re
import unicodedata

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
TERMS = (
    *("ε", "AUC", "non-members?", "matched", "bias", "skew", "shadow models?", "seeds?", "budget", "ledger", "study"),
    *("DP-SGD", "PLD", "RDP", "RMIA", "LiRA", "TPR", "FPR", "ROC", "MLP", "OBS", "GN", "WS", "AM", "PA", "SAT", "BL"),
    *(
        "Poisson",
        "clipping norm",
        "noise multiplier",
        "logical batch(?:es)?",
        "physical batch(?:es)?",
        "per-example gradient",
    ),
    *("accountant", "canar(?:y|ies)", "advantage", "negative control", "true-positive rate", "harmonic score"),
)
COMMON = re.compile(
    "AES(-256)?|MLflow|AMX|C|CI|CIFAR.*|CNN|CPUs?|CSV|CUDA|DDP|FSDP|GB|GFLOP|GPUs?|JSON|K?B|MB|TB|ML|NVIDIA|ONNX|PETS|PDF|PIL|"
    "README|ReLU|SECURITY|CITATION|CONTRIBUTING|CHANGELOG|SHA-256|SIGKILL|TF32|TFLOP|TOML|UTF-8|WRN-.*|JAX.*|SACRO-ML|"
    "EyePACS|DP-RandP|DP-SAT|HTML|URL|QMIA|RaMIA|SVMs?|YAML|PRV|GDP|HTTP|AUCs|FPRs|fastDP"
)
"""Abbreviations that readers of such pages know, and names."""


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
    return re.split(r"(?<=[.!?])\*{0,2}\s+(?=[A-Z`*“\"(ε0-9])", plain)


def spelled(term):
    """A regular expression of a term as a word of its own."""
    first = f"[{term[0].upper()}{term[0]}]" if term[0].islower() else term[0]
    return rf"(?<![\w`-]){first}{term[1:]}s?(?![\w-])"


def defined_in(text):
    """The terms that a text sets in italics or bold, as those are that it explains."""
    emphasized = " ".join(re.findall(r"(?<![\w*])\*{1,2}([^*\n]+)\*{1,2}(?!\*)", re.sub(r"`[^`]*`", "", text)))
    return {term for term in TERMS if re.search(spelled(term), emphasized)}


def slug(heading):
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip())


@functools.cache
def explained_by(page, anchor):
    """The terms that a page explains, or one of its sections."""
    if not page.is_file():
        return set()
    text = page.read_text("utf-8")
    if not anchor:
        return defined_in(text)
    parts = re.split(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {
        term
        for head, body in zip(parts[1::2], parts[2::2], strict=True)
        if slug(head) == anchor
        for term in defined_in(body)
    }


def unexplained(text, page=DOCS / "index.md"):
    """Terms that stand before the page explains them or links to where they are explained, and abbreviations that are
    neither terms nor common.  A link to a section explains the terms of that section alone."""
    explained, told = set(), []
    for paragraph in paragraphs(text):
        explained |= defined_in(paragraph)
        for target in re.findall(r"\]\(([^):]*)\)", paragraph):
            name, _, anchor = target.partition("#")
            explained |= explained_by((page.parent / name).resolve() if name else page, anchor)
        plain = re.sub(r"`[^`]*`", "", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph))
        told += [term for term in TERMS if term not in explained and re.search(spelled(term), plain)]
        for word in re.findall(r"(?<![\w/-])[A-Za-z]*[A-Z]{2,}[\w-]*", plain):
            if not COMMON.fullmatch(word) and not any(re.fullmatch(spelled(term), word) for term in TERMS):
                told.append(word)
        explained |= set(told)
    return list(dict.fromkeys(told))


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
    # Each argument, attribute and error is an item, and so is each entry of a list of entries.
    items = re.sub(r"\n +(?=[\w, ]+: )|;\s+(?=``)", "\n\n", docstring)
    assert long_sentences(paragraphs(items.replace("``", "`"))) == []


@pytest.mark.parametrize("page", [page for page in [*PAGES, *GENERATED] if page != "docs/concepts.md"])
def test_no_term_comes_before_its_explanation(page):
    """All but in the page that explains them."""
    path = DOCS / page.removeprefix("site/") if page in GENERATED else ROOT / page
    assert unexplained(text_of(page), path.resolve()) == []


def test_both_rules_see_what_they_are_for():
    assert unexplained("The AUC is 0.6.\n\nSee [concepts](concepts.md).") == ["AUC"]
    assert unexplained("The *AUC* is the probability.") == unexplained("The AUC ([why](concepts.md)).") == []
    assert unexplained("The bias and AUC ([why](concepts.md#bias)).") == ["AUC"]
    assert unexplained("The budget ([why](concepts.md#what-means)), tCDP, and the AUC of LiRA.") == [
        "AUC",
        "LiRA",
        "tCDP",
    ]
    assert [len(sentence.split()) for sentence in sentences("One two. Three `a b c` [four five](x.md).")] == [2, 4]
