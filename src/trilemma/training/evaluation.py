"""Logits of the examples of a split, computed with the weights that are released."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trilemma.errors import InputError
from trilemma.privacy.repeats import modes_of, refuse_other_responses, responses
from trilemma.privacy.structure import keeps_nothing
from trilemma.privacy.unchanged import refuse_changed_state
from trilemma.threads import in_threads, threads
from trilemma.training.inputs import Inputs, Part
from trilemma.training.state import State


@torch.no_grad()
def logits_of(
    state: State, inputs: Inputs, part: Part, rows: NDArray[np.int64], *, device: torch.device, at_once: int
) -> Tensor:
    """Logits of some rows of a split, computed with the evaluation weights; the state is left unchanged.

    Args:
      state: the state of the training.
      inputs: the inputs of the network.
      part: which split.
      rows: int64 (n,).
      device: of the network.
      at_once: the number of examples that fit the device at once.

    Returns:
      float32 (n, classes), on the CPU.

    Raises:
      InputError: the training diverged.
      PrivacyError: the network of a private training changed a parameter, buffer or attribute, or answers otherwise to
        the first of the images than it did before.
    """
    model = state.model
    last = {n: v.clone() for n, v in model.state_dict().items()} if state.average else None
    model.load_state_dict(state.evaluation_weights())
    in_updates = modes_of(model)
    model.eval()
    # On a CPU each core computes a few examples, which stay in its cache, and no layer waits for another core.
    ours = keeps_nothing(model)
    by_core = device.type == "cpu" and ours
    at_once = inputs.batch // 4 if by_core else max(256, at_once)

    def of_part(start: int) -> Tensor:
        with torch.no_grad():  # gradient mode is per thread
            outputs: Tensor = model(inputs.plain(part, rows[start : start + at_once]))
        return outputs.float().cpu()

    first = None if ours or state.evidence is None else inputs.plain(part, rows[:1])
    try:
        with nullcontext() if state.evidence is None else refuse_changed_state(model):
            before = None if first is None else responses(model, first, in_updates, gradient_first=False)
            starts = range(0, len(rows), at_once)
            logits = torch.cat([*in_threads(of_part, starts, threads() if by_core else 1)])
        after = None if first is None else responses(model, first, in_updates, gradient_first=True)
        if before and after:
            refuse_other_responses(before, after)
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
