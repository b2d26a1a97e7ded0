"""The documentation's tables are complete, and name files that exist."""

import re
from pathlib import Path

from trilemma.analysis.results import COLUMNS
from trilemma.measures import MEASURES
from trilemma.study.file import STUDIES
from trilemma.techniques import TECHNIQUES

ROOT = Path(__file__).parent.parent


def test_every_file_named_in_the_guarantee_exists():
    text = (ROOT / "docs" / "guarantee.md").read_text("utf-8")
    for name in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / name).exists(), name


def test_every_file_named_for_contributors_exists():
    for page in ("CONTRIBUTING.md", "README.md", "docs/tasks/technique.md"):
        text = (ROOT / page).read_text("utf-8")
        names = re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.(?:py|md|toml))?|[a-z_]+\.py)`", text)
        names = [name for name in names if not name.startswith("train/")]
        for name in names:
            assert any((base / name).exists() for base in (ROOT, ROOT / "src" / "trilemma")), f"{page}: {name}"
        assert names or page != "CONTRIBUTING.md"


def test_the_page_on_training_describes_every_technique():
    text = (ROOT / "docs" / "tasks" / "train.md").read_text("utf-8")
    for technique in TECHNIQUES.values():
        assert f"| `{technique.code}` | {technique.name} |" in text


def test_the_readme_is_short_and_begins_with_both_commands_and_what_one_gets():
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    first = text.split("![")[0]
    assert len(first.splitlines()) <= 20, "what one gets comes after the fold"
    assert "make quickstart" in first
    assert "make test" in text


def test_the_studies_page_describes_every_column_measure_and_study():
    text = (ROOT / "docs" / "studies.md").read_text("utf-8")
    for name, (kind, meaning) in COLUMNS.items():
        assert f"| `{name}` | {kind} | {meaning} |" in text
    (table,) = re.findall(r"\| measure \| unit [^\n]*\n\|[-| ]*\n((?:\|[^\n]*\n)+)", text)
    rows = []
    for name, measure in MEASURES.items():
        meaning = measure.meaning.replace("|", "&#124;")
        covered = "yes" if measure.covered else "no"
        rows.append(f"| `{name}` | {measure.unit or '-'} | {measure.better or '-'} | {covered} | {meaning} |")
    assert table.splitlines() == rows
    for name in STUDIES:
        assert f"| `{name}` |" in text
    files = {path.stem for path in (ROOT / "src" / "trilemma" / "study" / "studies").glob("*.toml")}
    assert files == set(STUDIES)
