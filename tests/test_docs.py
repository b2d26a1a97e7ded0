"""The documentation's code runs, and its tables name files that exist."""

import re
from pathlib import Path

import torch
from torch import nn

from trilemma.analysis.results import COLUMNS
from trilemma.measures import MEASURES
from trilemma.report.figures.catalog import check_figures
from trilemma.study.file import STUDIES, load_study
from trilemma.study.trials import expand
from trilemma.techniques import TECHNIQUES

ROOT = Path(__file__).parent.parent


def test_the_readme_s_example_runs(tmp_path, monkeypatch, capsys):
    """On fewer digits and for fewer updates; all else as it is printed."""
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    shorter = block.replace("skew=0.95", "skew=0.95, limit=150, test_limit=100").replace("epochs=60", "epochs=2")
    assert shorter.count("limit=") == 2
    assert "epochs=2," in shorter
    exec(shorter, {})
    accuracy, auc, score = map(float, capsys.readouterr().out.split()[:3])
    assert all(0 <= value <= 1 for value in (accuracy, auc, score))
    assert (tmp_path / "runs" / "python" / "result.json").exists()


def test_the_loop_of_ones_own_runs():
    text = (ROOT / "docs" / "howto.md").read_text("utf-8").split("## Your own training loop\n")[1]
    block = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    names = {
        "images": torch.randn(300, 1, 8, 8),
        "labels": torch.arange(300) % 10,
        "network": network,
        "sampling": torch.Generator(),
        "noise": torch.Generator(),
    }
    exec(block.replace("updates=500", "updates=5"), names)
    assert set(names["gradient"]) == dict(network.named_parameters()).keys()


def test_every_file_named_in_the_guarantee_exists():
    text = (ROOT / "docs" / "guarantee.md").read_text("utf-8")
    for name in re.findall(r"`(tests/[\w/]+\.py)`", text):
        assert (ROOT / name).exists(), name


def test_every_file_named_for_contributors_exists():
    for page in ("CONTRIBUTING.md", "README.md", "docs/howto.md"):
        text = (ROOT / page).read_text("utf-8")
        names = re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.(?:py|md|toml))?|[a-z_]+\.py)`", text)
        names = [name for name in names if not name.startswith("train/")]
        for name in names:
            assert any((base / name).exists() for base in (ROOT, ROOT / "src" / "trilemma")), f"{page}: {name}"
        assert names or page == "README.md"


def test_the_howto_page_describes_every_technique():
    text = (ROOT / "docs" / "howto.md").read_text("utf-8")
    for technique in TECHNIQUES.values():
        assert f"| `{technique.code}` | {technique.name} |" in text


def test_the_readme_names_both_commands():
    text = (ROOT / "README.md").read_text("utf-8")
    assert "make quickstart" in text
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


def test_the_study_of_ones_own_is_one(tmp_path):
    text = (ROOT / "docs" / "studies.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "mine.toml"
    path.write_text(block)
    study = expand(load_study(path)[0])
    assert len(study.trials) == 2 * 3 * 2 * 5
    check_figures(study)
    path.write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", block))
    assert any(trial.removal and trial.track for trial in expand(load_study(path)[0]).trials)
