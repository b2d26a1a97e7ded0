"""What shadow attacks read from reference models: two signals of every example, and which models trained on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.predictions import Predictions
from trilemma.attacks.signals import signals_from_logits
from trilemma.errors import InputError


@dataclass(frozen=True, eq=False)
class References:
    """The signals of R reference models for N examples.

    Attributes:
      confidence: float64 (R, N), the probability of the true class.
      scaled_logit: float64 (R, N), LiRA's phi.
      member: bool (R, N), which examples each model trained on; None if no model is assumed to have trained on any of
        them.
    """

    confidence: NDArray[np.float64]
    scaled_logit: NDArray[np.float64]
    member: NDArray[np.bool_] | None

    @classmethod
    def of(cls, predictions: Predictions, attack: str = "a shadow attack") -> References:
        """Read the references from ``predictions.reference_logits``, for an attack that the message names.

        Raises:
          InputError: there are none.
        """
        if predictions.reference_logits is None:
            raise InputError(
                f"{attack} needs reference_logits: outputs of other models of the same kind for the same examples"
            )
        signals = [signals_from_logits(logits, predictions.labels) for logits in predictions.reference_logits]
        return cls(
            np.stack([each.confidence for each in signals]),
            np.stack([each.scaled_logit for each in signals]),
            predictions.reference_member,
        )

    def online_member(self, attack: str) -> NDArray[np.bool_]:
        """``member``, for an attack that requires it.

        Raises:
          InputError: it is not known.
        """
        if self.member is None:
            raise InputError(
                f"{attack} needs reference_member, which says what each reference model was trained on: give it, or "
                f"use {attack}-offline if they were trained on none of these"
            )
        return self.member
