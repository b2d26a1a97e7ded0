"""``trilemma calibrate`` and ``trilemma epsilon``, as the documentation shows them."""

import re
import shlex
from pathlib import Path

import pytest

from trilemma.cli.main import main
from trilemma.privacy import Event, gaussian

PAGE = Path(__file__).parents[2] / "docs" / "tasks" / "budget.md"
MECHANISM = ["--delta", "1e-5", "--batch-size", "64", "--updates", "200", "--examples", "5000"]


def test_the_documentation_s_examples_print_what_it_says(capsys):
    (block,) = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for example in block.split("$ trilemma ")[1:]:
        command, expected = example.split("\n", 1)
        assert main(shlex.split(command)) == 0
        printed = capsys.readouterr()
        assert printed.out + printed.err == expected


def test_the_number_alone_is_on_standard_output(capsys):
    main(["calibrate", "--epsilon", "2", *MECHANISM])
    printed = capsys.readouterr()
    event = Event(64 / 5000, float(printed.out), 200)
    assert event.epsilon(1e-5) <= 2
    main(["epsilon", "--noise-multiplier", printed.out.strip(), *MECHANISM])
    again = capsys.readouterr()
    assert float(again.out) == pytest.approx(event.epsilon(1e-5), abs=1e-4)
    assert again.err == printed.err
    mu = float(re.search(r"μ ([\d.]+)", again.err).group(1))
    assert gaussian.epsilon(mu, 1e-5) == pytest.approx(event.epsilon(1e-5), rel=1e-3)
    for rate in ("% of members found at 1 % false positives", "at 0.1 %"):
        assert rate in again.err
