"""The bootstrap over examples: resampling, and percentile intervals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from trilemma.errors import InputError
from trilemma.statistics.intervals import LEVEL

Array = NDArray[np.float64]

_CHUNK_VALUES = 2**16  # numbers per chunk, so that a chunk fits into the processor's cache


class Resampler:
    """Draws bootstrap samples of rows, represented by how often each row is drawn.

    Rows that share a cluster (two copies of one image) are drawn together, since their errors are correlated and
    drawing them separately would make intervals too narrow.

    Args:
      rows: n, the number of rows.
      clusters: int (n,), equal for rows that belong together; None: every row is a cluster of its own.
    """

    def __init__(self, rows: int, clusters: NDArray[np.int64] | None = None) -> None:
        self.rows = rows
        self._cluster: NDArray[np.int64] | None = None
        self._clusters = rows
        if clusters is not None:
            distinct, codes = np.unique(clusters, return_inverse=True)
            if len(distinct) < rows:
                self._cluster = codes.astype(np.int64)
                self._clusters = len(distinct)

    def draw(self, rng: np.random.Generator, samples: int) -> NDArray[np.int32]:
        """int32 (samples, rows): how often each row is in each bootstrap sample."""
        n = self._clusters
        rows = rng.integers(0, n, size=(samples, n))
        rows += np.arange(samples)[:, None] * n
        counts = np.bincount(rows.ravel(), minlength=samples * n).reshape(samples, n).astype(np.int32)
        return counts if self._cluster is None else counts[:, self._cluster]


def chunks(resamples: int, rows: int) -> Iterator[int]:
    """Chunk sizes, each at least 1, that add up to ``resamples``; size x rows numbers fit into a cache if possible."""
    size = max(1, _CHUNK_VALUES // max(rows, 1))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def percentile_interval(draws: Array, level: float = LEVEL) -> tuple[float, float]:
    """The interval between the draws' quantiles (1 - level) / 2 and 1 - (1 - level) / 2.

    Raises:
      InputError: there are fewer than two draws.

    >>> low, high = percentile_interval(np.arange(1001) / 1000)
    >>> round(low, 3), round(high, 3)
    (0.025, 0.975)
    """
    if draws.ndim != 1 or len(draws) < 2:
        raise InputError(f"an interval needs at least two draws, not {draws.shape}: raise resamples")
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
