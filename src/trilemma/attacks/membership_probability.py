"""The probability that one example was a member, given a signal of the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError

BINS = 15
"""Number of bins of the histograms over all classes (TF-Privacy)."""

BINS_BY_CLASS = 5
"""Number of bins of each class's histograms (Song and Mittal)."""

FLOOR = 1e-10
"""Smaller signals are raised to this value, since the bins are spaced evenly in the logarithm."""

Array = NDArray[np.float64]


def membership_probability(
    signal: Array, member: NDArray[np.bool_], *, weights: Array | None = None, bins: int = BINS
) -> Array:
    """Membership probability from the target model's own histograms, as TF-Privacy computes it.

    r = h_in / (h_in + h_out), where h_in and h_out are the shares of members and of non-members that fall
    in the example's bin; the prior is 1/2 whatever the numbers of both.  The bins are spaced evenly in the
    logarithm between the smallest and the largest signal, so r is a step function.  A bin without members
    gives 0, and a bin without non-members gives 1.  A bin without either can contain only rows of weight 0,
    which get 0, as in TF-Privacy.

    Args:
      signal: float (N,), >= 0: the loss, or the modified entropy.
      member: bool (N,).
      weights: float (N,), >= 0; None gives all rows equal weight.
      bins: the number of bins.

    Returns:
      float64 (N,), each in [0, 1].

    Raises:
      InputError: lengths differ, a signal is negative or not finite, or there are no members or no
        non-members.

    >>> r = membership_probability(np.array([0.1, 0.1, 9.0, 0.1, 9.0, 9.0]), np.arange(6) < 3, bins=2)
    >>> r.round(3).tolist()
    [0.667, 0.667, 0.333, 0.667, 0.333, 0.333]
    """
    values = _floored(signal)
    if member.shape != values.shape or (weights is not None and weights.shape != values.shape):
        raise InputError("signal, member and weights must be (N,) of equal length")
    mass = np.ones(len(values)) if weights is None else weights
    which = _bin(values, _edges(values, bins))
    share_in = _shares(which[member], mass[member], bins, "members")
    share_out = _shares(which[~member], mass[~member], bins, "non-members")
    return _ratio(share_in, share_out)[which]


def membership_probability_by_class(
    signal: Array,
    labels: NDArray[np.int64],
    *,
    reference_signal: Array,
    reference_labels: NDArray[np.int64],
    reference_member: NDArray[np.bool_],
    bins: int = BINS_BY_CLASS,
) -> Array:
    """Song and Mittal's privacy risk score, from a pair of a shadow model's histograms per class.

    Source: Song and Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models", USENIX Security 2021.

    The shadow model was trained like the target, on other examples.  Its members are known, so nothing about
    the target's members is needed.  A bin that is empty in both histograms takes the value of the nearest
    nonempty bin (the lower one of two at equal distance), and a signal outside the histograms takes the value
    of the outermost bin.

    Args:
      signal: float (N,), the target model's signal (in the paper, the modified entropy).
      labels: int64 (N,).
      reference_signal, reference_labels, reference_member: (M,), those of the shadow model on its own examples.
      bins: the number of bins for each class.

    Returns:
      float64 (N,), each in [0, 1].

    Raises:
      InputError: a class of ``labels`` has no members or no non-members in the reference; or as for
        :func:`membership_probability`.
    """
    values, reference = _floored(signal), _floored(reference_signal)
    if labels.shape != values.shape:
        raise InputError("signal and labels must be (N,) of equal length")
    if not reference_labels.shape == reference_member.shape == reference.shape:
        raise InputError("reference_signal, reference_labels and reference_member must be (M,) of equal length")
    result = np.empty(len(values))
    for label in np.unique(labels):
        of_class = reference_labels == label
        inside, outside = reference[of_class & reference_member], reference[of_class & ~reference_member]
        if len(inside) == 0 or len(outside) == 0:
            raise InputError(
                f"the reference has no {'members' if len(inside) == 0 else 'non-members'} of class {label}: "
                "give a shadow model's predictions that cover every class on both sides"
            )
        edges = _edges(reference[of_class], bins)
        share_in = _shares(_bin(inside, edges), np.ones(len(inside)), bins, "members")
        share_out = _shares(_bin(outside, edges), np.ones(len(outside)), bins, "non-members")
        value = _ratio(share_in, share_out)[_nearest(share_in + share_out > 0)]
        rows = labels == label
        result[rows] = value[_bin(values[rows], edges)]
    return result


def _floored(signal: Array) -> Array:
    if signal.ndim != 1 or len(signal) == 0 or not np.isfinite(signal).all() or (signal < 0).any():
        raise InputError("a signal must be (N,) of finite numbers that are not negative: the loss or an entropy")
    floored: Array = np.maximum(signal.astype(np.float64), FLOOR)
    return floored


def _edges(values: Array, bins: int) -> Array:
    if bins < 1:
        raise InputError(f"bins must be at least 1, not {bins}")
    return np.logspace(np.log10(values.min()), np.log10(values.max()), bins + 1)


def _bin(values: Array, edges: Array) -> NDArray[np.int64]:
    # Clipped, since the outermost edges are powers of logarithms, which may be rounded past the values themselves.
    index: NDArray[np.int64] = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return index


def _shares(which: NDArray[np.int64], mass: Array, bins: int, side: str) -> Array:
    counts = np.bincount(which, weights=mass, minlength=bins)
    total = counts.sum()
    if total <= 0:
        raise InputError(f"a membership probability needs {side} with a weight above 0")
    share: Array = counts / total
    return share


def _ratio(share_in: Array, share_out: Array) -> Array:
    both = share_in + share_out
    return np.divide(share_in, both, out=np.zeros_like(both), where=both > 0)


def _nearest(filled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each bin, the nearest nonempty one; argmin returns the lower one of two at equal distance."""
    candidates = np.flatnonzero(filled)
    distance = np.abs(np.arange(len(filled))[:, None] - candidates[None, :])
    nearest: NDArray[np.int64] = candidates[distance.argmin(axis=1)]
    return nearest
