"""``trilemma calibrate`` and ``trilemma epsilon``: the number on standard output, its meaning on standard error."""

from __future__ import annotations

import argparse
from typing import Any

from trilemma.cli.terminal import show, show_error
from trilemma.privacy import accounting, gaussian
from trilemma.privacy.accounting import Event
from trilemma.privacy.ceiling import ceiling
from trilemma.rounding import digits_up, exact, percent_up, upper
from trilemma.words import power


def calibrate_command(arguments: argparse.Namespace) -> int:
    mechanism = _mechanism(arguments)
    # What is printed is copied: rounded up, it adds enough noise, and epsilon is computed for it.
    sigma = float(digits_up(exact(accounting.noise_multiplier(epsilon=arguments.epsilon, **mechanism)), 6))
    show(_digits(sigma))
    _explain(accounting.epsilon(noise_multiplier=sigma, **mechanism), sigma, arguments)
    return 0


def epsilon_command(arguments: argparse.Namespace) -> int:
    spent = accounting.epsilon(noise_multiplier=arguments.noise_multiplier, **_mechanism(arguments))
    show(upper(spent, 4))
    _explain(spent, arguments.noise_multiplier, arguments)
    return 0


def _mechanism(arguments: argparse.Namespace) -> dict[str, Any]:
    accounting.check_delta(arguments.delta)
    return {
        "delta": arguments.delta,
        "batch_size": arguments.batch_size,
        "updates": arguments.updates,
        "examples": arguments.examples,
        "accountant": arguments.accountant,
    }


def _explain(spent: float, sigma: float, arguments: argparse.Namespace) -> None:
    event = Event(accounting.sampling_probability(arguments.batch_size, arguments.examples), sigma, arguments.updates)
    bounds = ceiling(event)
    mu = digits_up(exact(gaussian.mu(spent, arguments.delta)), 4)
    lines = [
        f"ε {upper(spent, 4)} at δ {power(arguments.delta)}, noise multiplier {_digits(sigma)}",
        f"μ {mu:f}: at this δ, telling members from non-members is as hard as telling N(μ, 1) from N(0, 1)",
        *describe_ceiling(bounds.to_dict()),
    ]
    show_error(*lines)


def _digits(number: float) -> str:
    """All digits of a number, without an exponent."""
    return f"{exact(number).normalize():f}"


def describe_ceiling(bounds: dict[str, Any]) -> list[str]:
    """``privacy.ceiling`` of a result in two lines."""
    rates = bounds["tpr_at_fpr"]
    return [
        f"any attack: at most {percent_up(rates['0.01'])} % of members found at 1 % false positives, "
        f"{percent_up(rates['0.001'])} % at 0.1 %",
        f"            AUC at most {upper(bounds['auc'])}, advantage at most {upper(bounds['advantage'])}",
    ]
