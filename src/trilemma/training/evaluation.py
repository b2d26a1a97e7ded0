"""Logits of the examples of a split, computed with the weights that are released."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.errors import InputError
from trilemma.privacy.unchanged import refuse_changed_state
from trilemma.threads import in_threads
from trilemma.training.inputs import Inputs, Part
from trilemma.training.state import State


@torch.no_grad()
def logits_of(
    state: State, inputs: Inputs, part: Part, rows: NDArray[np.int64], *, at_once: int, threads: int
) -> Tensor:
    """Logits of some rows of a split, computed with the evaluation weights; the state is left unchanged.

    Args:
      state: the state of the training.
      inputs: the inputs of the network.
      part: which split.
      rows: int64 (n,).
      at_once: the number of examples that a thread computes at once.
      threads: the number of threads that compute side by side.

    Returns:
      float32 (n, classes), on the CPU.

    Raises:
      InputError: the training diverged.
      PrivacyError: the network of a private training changed a parameter, buffer or attribute.
    """
    model = state.model
    last = {n: v.clone() for n, v in model.state_dict().items()} if state.average else None
    model.load_state_dict(state.evaluation_weights())
    model.eval()

    def of_part(start: int) -> Tensor:
        with torch.no_grad():  # gradient mode is per thread
            outputs: Tensor = model(inputs.plain(part, rows[start : start + at_once]))
        return outputs.float().cpu()

    try:
        with nullcontext() if state.evidence is None else refuse_changed_state(model):
            logits = torch.cat([*in_threads(of_part, range(0, len(rows), at_once), threads)])
    finally:
        model.train()
        if last is not None:
            model.load_state_dict(last)
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            f"the training diverged by update {state.update} (the network's outputs are not finite): "
            "use a smaller learning rate"
        )
    return logits
