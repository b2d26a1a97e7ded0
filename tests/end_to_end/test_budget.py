"""``trilemma calibrate`` and ``trilemma epsilon``, as the documentation shows them."""

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilemma.cli.main import main
from trilemma.privacy import Event, Plan, gaussian

PAGE = Path(__file__).parents[2] / "docs" / "tasks" / "budget.md"
MECHANISM = ["--delta", "1e-5", "--batch-size", "64", "--updates", "200", "--examples", "5000"]


def test_the_documentation_s_examples_print_what_it_says(capsys):
    (block,) = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for example in block.split("$ trilemma ")[1:]:
        command, expected = example.split("\n", 1)
        assert main(shlex.split(command)) == 0
        printed = capsys.readouterr()
        assert printed.out + printed.err == expected


@settings(max_examples=15, deadline=None)
@given(epsilon=st.floats(0.05, 20), delta=st.sampled_from([1e-5, 1e-6]), updates=st.integers(1, 500))
def test_whoever_copies_what_calibrate_prints_stays_within_the_budget(epsilon, delta, updates):
    """Guards: a noise multiplier that is rounded down in print."""
    mechanism = ["--delta", str(delta), "--batch-size", "100", "--updates", str(updates), "--examples", "100"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        assert main(["calibrate", "--epsilon", repr(epsilon), *mechanism]) == 0
    spent = Event(1.0, float(out.getvalue()), updates).epsilon(delta)
    assert spent <= epsilon
    assert (
        float(out.getvalue())
        <= 1.0001
        * Plan.calibrated(
            epsilon=epsilon, delta=delta, batch_size=100, updates=updates, examples=100, allow_large_delta=True
        ).noise_multiplier
    )
    said, mu = (float(re.search(rf"{name} ([\d.]+)", err.getvalue()).group(1)) for name in ("ε", "μ"))
    assert said >= spent
    assert gaussian.epsilon(mu, delta) >= spent * (1 - 1e-9)


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
