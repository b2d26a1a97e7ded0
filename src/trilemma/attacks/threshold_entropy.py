"""The modified-entropy attack (Song and Mittal 2021): confident *and* correct predictions indicate members."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.signals import Signals


def threshold_entropy_scores(signals: Signals) -> NDArray[np.float64]:
    """float64 (N,): the negative modified entropy; a higher score means "member" (``threshold-entropy`` in
    TF-Privacy; Song and Mittal, USENIX Security 2021, eq. 8).

    Ordinary entropy is low wherever the model is confident, correct or not; the modified entropy is low only where
    it is confident of the true class.
    """
    return -signals.modified_entropy
