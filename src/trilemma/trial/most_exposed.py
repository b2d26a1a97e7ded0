"""The training examples that an audit with shadow models finds most exposed: ``exposed.json`` of the audit."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import Audit, Predictions
from trilemma.measures import ATTACK_WORDS, HEADLINE_ATTACKS
from trilemma.trial.shadows import Target
from trilemma.words import RANKS

EXPOSED = "exposed.json"
SHOWN = 12
ORDERED_BY = HEADLINE_ATTACKS[0]
"""The attack that ranks them."""

_NOTE = "Not for release: it shows training examples, and names those that attacks find."


def most_exposed(predictions: Predictions, result: Audit, target: Target, *, images: bool) -> dict[str, Any]:
    """The members that RMIA ranks first, each with three probabilities of membership.

    Args:
      predictions: what was audited: the target's outputs, members first.
      result: the audit, with RMIA among its attacks.
      target: the run, its data and the audited examples.
      images: whether the images themselves are kept.

    Returns:
      For JSON: ``{"note", "examples": [{"index", "class", "group", "predicted", "loss", "score", "probability":
      {"rmia", "lira", "histogram"}, "png"}], "probability_reason"}``, the most exposed first; a probability that could
      not be checked is None, for the reason given, and so is ``png`` (base64) without images.
    """
    members = np.flatnonzero(predictions.member)
    order = np.lexsort((result.signals.loss[members], -result.scores[ORDERED_BY][members]))
    data = target.data
    examples = []
    for row in members[order[:SHOWN]]:
        index = int(target.audited.members[row])
        probability = {name: _at(result.probabilities.get(name), row) for name in RANKS if name in ATTACK_WORDS}
        probability["histogram"] = float(result.membership_probability[row])
        examples.append(
            {
                "index": index,
                "class": data.classes[int(predictions.labels[row])],
                "group": None
                if predictions.groups is None
                else predictions.name_of_group(int(predictions.groups[row])),
                "predicted": data.classes[int(result.signals.predicted[row])],
                "loss": float(result.signals.loss[row]),
                "score": float(result.scores[ORDERED_BY][row]),
                "probability": probability,
                "png": _png(np.asarray(data.train.images[index])) if images else None,
            }
        )
    return {"note": _NOTE, "examples": examples, "probability_reason": result.probability_reason}


def _at(values: NDArray[np.float64] | None, row: int) -> float | None:
    return None if values is None else float(values[row])


def _png(image: NDArray[np.uint8]) -> str:
    """An image (C, H, W) as a PNG in base64."""
    from PIL import Image

    pixels = np.moveaxis(image, 0, -1)
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
