"""The loss-threshold attack (Yeom et al. 2018): examples with a low loss are classified as members."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.signals import Signals


def threshold_scores(signals: Signals) -> NDArray[np.float64]:
    """float64 (N,): the negative cross-entropy; a higher score means "member" (``threshold`` in TF-Privacy).

    The attack classifies every example below a loss threshold as a member; the ROC curve covers all thresholds.
    """
    return -signals.loss
