"""Membership-inference attacks on a model's predictions, however and wherever the model was trained.

>>> import numpy as np
>>> rng = np.random.default_rng(0)
>>> member = np.arange(600) < 300
>>> predictions = Predictions(logits=rng.normal(size=(600, 2)), labels=rng.integers(0, 2, 600), member=member)
>>> result = audit(predictions, attacks=["threshold", "rf"], resamples=100)
>>> sorted(result.attacks), result.members
(['rf', 'threshold'], 300)
"""

from trilemma.attacks.audit import ATTACKS, Audit, NullCheck, audit, match_predictions, null_check
from trilemma.attacks.bands import roc_bands
from trilemma.attacks.exposure import ceiling_alarms, exposure
from trilemma.attacks.learned import cross_fitted_scores, mlp_scores, rf_scores
from trilemma.attacks.lira import lira_offline_scores, lira_scores, membership_posterior
from trilemma.attacks.matching import Match, matched_nonmembers
from trilemma.attacks.membership_probability import membership_probability, membership_probability_by_class
from trilemma.attacks.predictions import Predictions
from trilemma.attacks.rates import Rate, rate_at
from trilemma.attacks.reliability import Reliability
from trilemma.attacks.rmia import rmia_offline_scores, rmia_scores, tuned_a
from trilemma.attacks.roc import Curve, Metrics, Roc, bootstrap_roc, measure, roc_curve
from trilemma.attacks.signals import Signals, read_signals, signals_from_logits, signals_from_probs
from trilemma.attacks.targets import TargetsCell, cells_of_targets
from trilemma.attacks.threshold import threshold_scores
from trilemma.attacks.threshold_entropy import threshold_entropy_scores

__all__ = [
    "ATTACKS",
    "Audit",
    "Curve",
    "Match",
    "Metrics",
    "NullCheck",
    "Predictions",
    "Rate",
    "Reliability",
    "Roc",
    "Signals",
    "TargetsCell",
    "audit",
    "bootstrap_roc",
    "ceiling_alarms",
    "cells_of_targets",
    "cross_fitted_scores",
    "exposure",
    "lira_offline_scores",
    "lira_scores",
    "match_predictions",
    "matched_nonmembers",
    "measure",
    "membership_posterior",
    "membership_probability",
    "membership_probability_by_class",
    "mlp_scores",
    "null_check",
    "rate_at",
    "read_signals",
    "rf_scores",
    "rmia_offline_scores",
    "rmia_scores",
    "roc_bands",
    "roc_curve",
    "signals_from_logits",
    "signals_from_probs",
    "threshold_entropy_scores",
    "threshold_scores",
    "tuned_a",
]
