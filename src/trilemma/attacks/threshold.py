"""The loss threshold attack (Yeom et al. 2018): what the model fits better, it was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.signals import Signals


def threshold_scores(signals: Signals) -> NDArray[np.float64]:
    """float64 (N,): minus the cross-entropy, higher meaning member (METHODS 5.1, ``threshold``).

    The attack that calls every example below a loss a member; the ROC curve goes over all such thresholds.
    """
    return -signals.loss
