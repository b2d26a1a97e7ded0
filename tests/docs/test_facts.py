"""What the pages say of the code is what the code has: numbers, names of measures, verdicts of stored results."""

import argparse
import re

import pytest

from documented import PAGES, ROOT, mentions_in, name_of, options_in
from trilemma.analysis.claims.budget import FEWEST_BUDGETS
from trilemma.analysis.claims.headline import HEADLINE, SEED_NOISE
from trilemma.analysis.claims.headline import MARGIN as BELOW
from trilemma.analysis.claims.skew import MARGIN
from trilemma.attacks.cells import TOO_FEW
from trilemma.attacks.lira import FEWEST_SHADOWS as FOR_LIRA
from trilemma.attacks.rates import FALSE_POSITIVES
from trilemma.attacks.reliability import CALIBRATED
from trilemma.attacks.rmia import FEWEST_SHADOWS as FOR_RMIA
from trilemma.cli.arguments import parser
from trilemma.measures import RUN_ATTACKS
from trilemma.privacy.canaries import largest_bound
from trilemma.statistics.shares import FEW
from trilemma.study.file import STUDIES, load_study
from trilemma.study.trials import MOST_TRIALS, expand
from trilemma.techniques import TECHNIQUES
from trilemma.training.canaries import MOST
from trilemma.training.memory import OF_FREE
from trilemma.trial.exposure import SHADOWS_EACH
from trilemma.trial.gate import QUANTITIES, conditions


def word(number):
    names = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    return names[number]


QUICKSTART = expand(load_study("quickstart")[0])
AT_1, AT_01 = (f"{round(FALSE_POSITIVES / rate):,}" for rate in (0.01, 0.001))
FACTS = {
    "README.md": (
        f"any of {word(len(TECHNIQUES))} techniques",
        f"trains {word(len(QUICKSTART.trials))} classifiers on handwritten digits",
        f"{word(len({trial.recipe.seed for trial in QUICKSTART.trials}))} seeds each",
        f"The strongest of {word(len(RUN_ATTACKS))} attacks has an AUC above ½ by chance alone",
    ),
    "docs/index.md": (f"trains {word(len(QUICKSTART.trials))} small classifiers",),
    "docs/concepts.md": (
        f"**A trend over budgets** takes at least {word(FEWEST_BUDGETS)} budgets",
        f"fixed in advance: {MARGIN} for an AUC",
        f"the mean is shown to be at least {HEADLINE} less {BELOW}",
        f"shown to lie {SEED_NOISE} below it",
        f"There are {word(len(TECHNIQUES))}: ",
    ),
    "docs/studies.md": (
        f"More than {MOST_TRIALS} trials need `--yes`",
        f"gets {word(SHADOWS_EACH)} [shadow models]",
    ),
    "docs/tasks/train.md": (
        f"more than {'half' if OF_FREE['cpu'] == 0.5 else OF_FREE['cpu']} of the free memory "
        f"({100 * OF_FREE['cuda']:.0f} % of it on a GPU)",
    ),
    "docs/tasks/decide.md": (
        f"an AUC needs {TOO_FEW} members and {TOO_FEW} non-members",
        f"fewer than {FEW} of them are right or fewer than {FEW} are wrong",
        f"needs {AT_1} or {AT_01} non-members",
    ),
    "docs/tasks/audit-predictions.md": (
        f"{word(FOR_RMIA).capitalize()} are enough for RMIA, {word(FOR_LIRA)} for LiRA",
    ),
    "docs/tasks/audit-model.md": (
        f"{word(FOR_RMIA).capitalize()} shadows are enough for RMIA, {word(FOR_LIRA)} for LiRA",
        f"RMIA's takes {word(CALIBRATED['rmia'].needed)} shadows and LiRA's {word(CALIBRATED['lira'].needed)}",
        f"only from {AT_1} non-members (at 1 %) or {AT_01} (at 0.1 %)",
        f"with fewer than {TOO_FEW} in a half no control is made",
        f"canaries without a budget, more than {MOST:,}, more images",
        f"1,000 canaries prove no more than ε = {largest_bound(1000, 1e-5):.1f} at δ = 1e-5, "
        f"and {largest_bound(1000, 1e-5, corrected=False):.1f} without the correction",
    ),
}
"""By page, sentences with numbers of the code in them."""


def text_of(page):
    return (ROOT / page).read_text("utf-8")


@pytest.mark.parametrize("page", FACTS)
def test_numbers_in_sentences_are_those_of_the_code(page):
    text = " ".join(text_of(page).split())
    assert [fact for fact in FACTS[page] if fact not in text] == []


def test_the_gate_s_table_names_every_quantity_that_a_condition_takes_and_no_other():
    (table,) = re.findall(r"\n\| measure \| what it is \|\n\|[-|]+\n((?:\|[^\n]*\n)+)", text_of("docs/tasks/decide.md"))
    named = [name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])]
    outside = {"attacks": ["mine_attack:confidence"], "measures": ["mine_measure:calibration_error"]}
    for name in named:
        conditions(f"{name}<=0.5", outside)
    assert set(QUANTITIES) == {name for name in named if "mine" not in name} - {"calibration_error"}


VERDICT = r"(confirmed|contradicted|cannot tell|no verdict|not measured)"


def test_the_verdicts_on_the_paper_are_those_of_the_results():
    """Each row of the small studies has a row of the results with its verdict and its number."""
    table = text_of("docs/paper.md").split("## Small networks")[1].split("\n## ")[0]
    results = [line for line in text_of("docs/results/studies.md").splitlines() if line.startswith("|")]
    checked = 0
    for row in (line for line in table.splitlines() if re.match(r"\| [^|]+ \| " + VERDICT, line)):
        said = row.split(" | ")[1]
        verdict, number = re.match(VERDICT, said)[1], re.search(r"[+−][\d.]+ \[[^\]]+\]", said)
        same = [line for line in results if f"| {verdict}" in line and (number is None or number[0] in line)]
        assert same, row
        checked += number is not None
    assert checked == 9
    linear = text_of("docs/paper.md").split("## A linear model")[1].split("\n## ")[0]
    numbers = set(re.findall(r"\d\d\.\d\d % \[[^\]]+\]", linear))
    known = text_of("docs/results/all-images.md").replace("**", "")
    assert len(numbers) == 3
    assert [number for number in numbers if number.replace(" %", "") not in known] == []


def test_the_table_of_studies_names_the_figures_of_each():
    lines = text_of("docs/studies.md").split("\n## ")[0].splitlines()
    for name in STUDIES:
        (row,) = [line for line in lines if line.startswith(f"| `{name}` | ")]
        named = re.findall(r"`(\w+)`", row.split(" | ")[2])
        study = load_study(name)
        assert named == (list(study[0].figures) if len(study) == 1 else []), name


def test_an_option_that_differs_from_another_by_one_letter_stands_with_its_command():
    """Guards: ``--seed`` of a training written for ``--seeds`` of a study, which no parser of one option can see."""
    (commands,) = [a.choices for a in parser()._actions if isinstance(a, argparse._SubParsersAction)]
    names = {name for command in commands.values() for name in command._option_string_actions}
    alike = {name for name in names if name + "s" in names or name.removesuffix("s") in names - {name}}
    assert alike == {"--seed", "--seeds"}
    for page in PAGES:
        assert [words for words in options_in(page) if alike & set(words)] == [], name_of(page)
    assert any("--seeds" in words for page in PAGES for words in mentions_in(page))
