"""The success of an attack by cell over several targets that share examples, with intervals clustered by example.

An example is a member of some targets and not of others, and it is hard or easy in all of them.  Its rows are therefore
one cluster: a bootstrap sample draws examples, each with its rows under all targets.  Treating rows as independent
would make the intervals over T targets too narrow by a factor of up to sqrt(T).  The estimate is the mean over *these*
targets; how much trainings differ from each other is another question.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.cells import TOO_FEW
from trilemma.attacks.rates import enough
from trilemma.attacks.roc import measure, resampled_metrics
from trilemma.errors import InputError
from trilemma.measures import HEADLINE_FPR
from trilemma.seeds import rng_for
from trilemma.statistics.bootstrap import chunks, percentile_interval
from trilemma.statistics.shares import share_interval
from trilemma.words import RESAMPLES

Array = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TargetsCell:
    """An attack's success in one cell, as a mean over targets.

    Attributes:
      examples: the number of examples in the cell.
      auc: mean over targets, or None where a target has fewer than ``TOO_FEW`` members or non-members in the cell.
      auc_interval: 95 %, over examples.
      tpr: the mean share of members found at 1 % false positives of the cell's own non-members, or None.
      tpr_interval: 95 %, over examples; each bootstrap sample has its own thresholds.
      reason: why there is no TPR.
    """

    examples: int
    auc: float | None
    auc_interval: tuple[float, float] | None
    tpr: float | None
    tpr_interval: tuple[float, float] | None
    reason: str | None


def cells_of_targets(
    scores: Array,
    member: Booleans,
    cells: Ints,
    *,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> dict[int, TargetsCell]:
    """An attack's success in every cell, by the cell's number.

    Args:
      scores: float64 (T, N), each target's scores of the same N examples, higher meaning member.
      member: bool (T, N), which examples each target was trained on.
      cells: int64 (N,), which cell each example is in.
      seed, resamples: the seed and the number of samples of the bootstrap.

    Raises:
      InputError: shapes do not fit.

    >>> rng = np.random.default_rng(0)
    >>> member = rng.random((3, 400)) < 0.5
    >>> cells = cells_of_targets(rng.normal(size=(3, 400)) + member, member, np.arange(400) % 2, resamples=50)
    >>> cells[0].examples, 0.6 < cells[0].auc_interval[0] < cells[0].auc_interval[1] < 0.9, cells[0].tpr is None
    (200, True, True)
    """
    if scores.ndim != 2 or member.shape != scores.shape or cells.shape != scores.shape[1:]:
        raise InputError(
            f"scores and member must be (targets, examples) and cells (examples,), not {scores.shape}, {member.shape} "
            f"and {cells.shape}"
        )
    rng = rng_for(seed, "bootstrap/targets")
    return {
        int(cell): _cell(scores[:, cells == cell], member[:, cells == cell], rng, resamples)
        for cell in np.unique(cells)
    }


def _cell(scores: Array, member: Booleans, rng: np.random.Generator, resamples: int) -> TargetsCell:
    count = scores.shape[1]
    fewest = int(np.minimum(member.sum(axis=1), (~member).sum(axis=1)).min())
    reason = enough(HEADLINE_FPR, float((~member).sum(axis=1).min()))
    if fewest < TOO_FEW:
        return TargetsCell(count, None, None, None, None, reason)
    seen = [measure(*target) for target in zip(scores, member, strict=True)]
    aucs, tprs = np.zeros(resamples), np.zeros(resamples)
    done = 0
    for size in chunks(resamples, scores.size):
        counts = rng.multinomial(count, np.full(count, 1 / count), size=size).astype(np.int32)
        for target in zip(scores, member, strict=True):
            resampled = resampled_metrics(*target, counts)
            aucs[done : done + size] += resampled.auc / len(scores)
            tprs[done : done + size] += resampled.tpr_at_fpr[HEADLINE_FPR] / len(scores)
        done += size
    auc = float(np.mean([metrics.auc for metrics in seen]))
    tpr = float(np.mean([metrics.tpr_at_fpr[HEADLINE_FPR] for metrics in seen]))
    if reason is not None:
        return TargetsCell(count, auc, percentile_interval(aucs), None, None, reason)
    # An example that several targets were trained on is found in all or in none of them, at worst.
    independent = int(member.any(axis=0).sum())
    return TargetsCell(count, auc, percentile_interval(aucs), tpr, share_interval(tpr, independent, tprs), None)
