"""The modified-entropy threshold attack (Song and Mittal 2021): sure *and* right means trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.signals import Signals


def threshold_entropy_scores(signals: Signals) -> NDArray[np.float64]:
    """float64 (N,): minus the modified entropy, higher meaning member (METHODS 5.1, ``threshold-entropy``).

    Ordinary entropy is low for a model that is sure, right or wrong; the modified one is low only where it
    is sure of the true class.
    """
    return -signals.modified_entropy
