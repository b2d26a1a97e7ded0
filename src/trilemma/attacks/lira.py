"""LiRA, the likelihood-ratio attack (Carlini et al. 2022): was this confidence drawn from the models that trained on
the example, or from those that did not?

Each shadow model gives one value of the signal phi = log p_y - log sum_{i != y} p_i for each example
(``Signals.scaled_logit``), which is close to normal.  With the shadows divided into those that trained on the example
(IN) and those that did not (OUT):

- *online*: log N(phi; mean_in, sd_in) - log N(phi; mean_out, sd_out), the log-likelihood ratio;
- *offline*: (phi - mean_out) / sd_out, the one-sided test of how far the target lies above the OUT models.  (The
  published code uses the two-sided likelihood; on CIFAR-10 it finds 26 % of the members at 1 % false positives where
  the one-sided test finds 36 %.)

**Means** are medians over shadows, as published.  **Variance**: one for the IN side and one for the OUT side, pooled
over the examples ("fixed"), or each example's own ("per-example").  An example's own needs some dozens of shadows: with
16, it costs half or more of the members found at 0.1 % false positives, so that ``auto`` takes it from ``OWN_VARIANCE``
shadows on.  (The published code takes the IN values' for both sides when it fixes the variance, and the spread between
examples with it.  Here each side has its own, and it is the spread within an example, with one degree of freedom less
for each example's mean: the spread that the likelihood is about.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.membership_matrix import NEEDS, check_matrix
from trilemma.errors import InputError

Array = NDArray[np.float64]
Variance = Literal["auto", "fixed", "per-example"]

FEWEST_SHADOWS: int = NEEDS["lira"]["fewest"]
"""LiRA is refused with fewer."""

OWN_VARIANCE = 32
"""Shadows from which on ``auto`` gives every example a variance of its own."""

_FLOOR = 1e-30  # of a standard deviation, as published


def lira_scores(
    phi: Array, shadow_phi: Array, shadow_member: NDArray[np.bool_], *, variance: Variance = "auto"
) -> Array:
    """The online score: each example's log-likelihood ratio, in nats.

    >>> rng = np.random.default_rng(0)
    >>> member = np.arange(40) < 20
    >>> shadow_member = np.array([member, ~member, member, ~member])
    >>> shadow_phi = rng.normal(size=(4, 40)) + 3 * shadow_member
    >>> scores = lira_scores(rng.normal(size=40) + 3 * member, shadow_phi, shadow_member)
    >>> bool(scores[:20].mean() > scores[20:].mean())
    True

    Args:
      phi: float64 (N,) or (N, V): the target's signal for each example, in V views of it.
      shadow_phi: float64 (R, N) or (R, N, V): the shadows' signals, read with the same views.
      shadow_member: bool (R, N): which examples each shadow trained on.
      variance: see the module's text.

    Returns:
      float64 (N,), higher meaning member; the mean over the views.

    Raises:
      InputError: shapes that do not fit, fewer than ``FEWEST_SHADOWS`` shadows, or an example that is never in or
        never out.
    """
    phi, shadow_phi = _with_views(phi, shadow_phi)
    check_matrix(shadow_member, shadow_phi.shape[:2], attack="lira", **NEEDS["lira"])
    ratio = _log_density(phi, *_spread(shadow_phi, shadow_member, variance))
    ratio -= _log_density(phi, *_spread(shadow_phi, ~shadow_member, variance))
    scores: Array = ratio.mean(axis=1)
    return scores


def lira_offline_scores(
    phi: Array, shadow_phi: Array, shadow_member: NDArray[np.bool_] | None = None, *, variance: Variance = "auto"
) -> Array:
    """The offline score: how many standard deviations of the OUT models the target's signal lies above their mean.

    Args:
      phi, shadow_phi, variance: as for :func:`lira_scores`.
      shadow_member: bool (R, N), or None where no shadow trained on any of the examples.

    Returns:
      float64 (N,), higher meaning member; the mean over the views.

    Raises:
      InputError: shapes that do not fit, fewer than two OUT models of an example.
    """
    phi, shadow_phi = _with_views(phi, shadow_phi)
    out = np.ones(shadow_phi.shape[:2], dtype=bool) if shadow_member is None else ~shadow_member
    check_matrix(~out, shadow_phi.shape[:2], attack="lira-offline", **NEEDS["lira-offline"])
    mean, std = _spread(shadow_phi, out, variance)
    scores: Array = ((phi - mean) / std).mean(axis=1)
    return scores


def membership_posterior(ratio: Array) -> Array:
    """The probability of membership at prior 1/2 that a log-likelihood ratio gives: float64 (N,) -> (N,) in [0, 1]."""
    from scipy.special import expit

    posterior: Array = expit(ratio)
    return posterior


def _with_views(phi: Array, shadow_phi: Array) -> tuple[Array, Array]:
    phi = phi[:, None] if phi.ndim == 1 else phi
    shadow_phi = shadow_phi[:, :, None] if shadow_phi.ndim == 2 else shadow_phi
    if phi.ndim != 2 or shadow_phi.ndim != 3 or shadow_phi.shape[1:] != phi.shape:
        raise InputError(
            f"the shadows' signals must be (shadows, {', '.join(map(str, phi.shape))}), not {shadow_phi.shape}: read "
            "the same examples, in the same views, from target and shadows"
        )
    return phi, shadow_phi


def _spread(shadow_phi: Array, used: NDArray[np.bool_], variance: Variance) -> tuple[Array, Array]:
    """Medians (N, V) and standard deviations (N, V) or (1, V) of the signals that are used."""
    if variance not in ("auto", "fixed", "per-example"):
        raise InputError(f"variance must be auto, fixed or per-example, not {variance}")
    values = np.where(used[:, :, None], shadow_phi, np.nan)
    counts = used.sum(axis=0)[:, None]
    squares = np.nansum(np.square(values - np.nanmean(values, axis=0)), axis=0)
    if variance == "per-example" or (variance == "auto" and len(shadow_phi) >= OWN_VARIANCE):
        square = squares / (counts - 1)
    else:
        square = squares.sum(axis=0, keepdims=True) / (counts - 1).sum()
    return np.nanmedian(values, axis=0), np.sqrt(square) + _FLOOR


def _log_density(phi: Array, mean: Array, std: Array) -> Array:
    density: Array = -np.square((phi - mean) / std) / 2 - np.log(std)
    return density
