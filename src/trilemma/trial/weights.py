"""``model.safetensors``: released weights and what using them needs, with a digest, so that a flipped bit is found.

The digest stands in the file itself, because a released folder need not have the run's ``result.json`` and its
checksums.  It tells damage from what was written, not a forger.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from trilemma.errors import InputError
from trilemma.files import reading
from trilemma.hints import one_line
from trilemma.privacy.randomness import tensors_digest
from trilemma.training.learned import FACTS

DIGEST = "sha256"
"""The fact that is the digest of the others and of the weights."""


def metadata_with_digest(values: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The metadata of a file of ``weights`` that holds ``values`` (JSON) and the digest of both."""
    return {FACTS: json.dumps({**values, DIGEST: _digest(values, weights)})}


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts in the metadata, and the weights by name.

    Files of other programs and of version 0.1 have no facts, and get an empty dictionary.

    Raises:
      InputError: the file cannot be read, or is not what was written.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): put the file back") from error
    if FACTS not in metadata:
        return {}, weights
    with reading(path):
        values = dict(json.loads(metadata[FACTS]))
    if values.pop(DIGEST, None) != _digest(values, weights):
        raise InputError(f"{path} is damaged, or an earlier version wrote it: put the file back, or train again")
    return values, weights


def _digest(values: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    facts = json.dumps(values, sort_keys=True)
    return hashlib.sha256(f"{facts} {tensors_digest(weights)}".encode()).hexdigest()
