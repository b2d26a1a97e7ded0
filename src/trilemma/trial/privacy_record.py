"""``privacy`` of ``result.json``: what a run guarantees, and whether it did what the guarantee assumes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trilemma.files import read_text
from trilemma.privacy.ceiling import ceiling
from trilemma.privacy.truth import truth_check
from trilemma.training.loop import Training
from trilemma.trial.run import RESULT, TRAINED, why_contradicted
from trilemma.trial.statement import NEIGHBORING, NOT_COVERED, UNIT


def privacy_record(
    training: Training, folder: Path, canaries: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """The record, computed after the last update from what was actually run; None without a budget.

    Where the truth check fails, or the run's own canaries contradict its claim, there is no epsilon, and nothing is
    covered.

    Args:
      training: the training, after its last update.
      folder: the folder of the run; the runs beside it are compared, in case they had the same noise.
      canaries: what its canaries prove, or None.
    """
    plan, recipe = training.course.plan, training.recipe
    if plan is None:
        return None
    evidence, event = training.state.evidence, plan.event(training.state.update)
    assert evidence is not None
    secret = recipe.keeps_noise_secret
    digest = None if secret else training.state.noise.key_digest
    record = {
        "epsilon": training.epsilon_spent(),
        "delta": recipe.delta,
        "target_epsilon": recipe.epsilon,
        "noise_multiplier": plan.noise_multiplier,
        "clipping_norm": plan.clipping_norm,
        "batch_size": plan.batch_size,
        "examples": plan.examples,
        "sampling": "poisson" if plan.batch_size < plan.examples else "full-batch",
        "neighbouring": NEIGHBORING,
        "unit": UNIT,
        "accountant": "pld",
        "epsilon_rdp": training.epsilon_spent("rdp"),
        "updates": training.state.update,
        "event": event.to_dict(),
        "covered": "the weights in model.safetensors and what is computed from them alone",
        "not_covered": " ".join(NOT_COVERED),
        "noise_source": "secret" if secret else "seeded",
        "noise_key_digest": digest,
        "noise_shared": _same_noise_beside(folder, digest),
    }
    coins = training.state.coins
    truth = truth_check(
        plan, evidence, record, bfloat16=training.autocast is not None, canaries=coins.count if coins else 0
    )
    record |= {"truth": truth.to_dict(), "ceiling": ceiling(event).to_dict()}
    wrong = "" if truth.passed else "the run failed its truth check"
    if not wrong and why_contradicted({"canaries": canaries}):
        wrong = "its own canaries contradict the claim"
    withdrawn = {"epsilon": None, "epsilon_rdp": None, "covered": f"nothing: {wrong}", "ceiling": None}
    return record | withdrawn if wrong else record


def _same_noise_beside(folder: Path, digest: str | None) -> bool:
    """Whether another run in the same parent folder recorded this digest of the key of its noise.

    Keys from the operating system have no digest and never repeat.  Runs elsewhere are not seen: the ledger of a study
    compares the digests of all its trials.
    """
    if digest is None:
        return False
    for name in (RESULT, TRAINED):
        for path in folder.resolve().parent.glob(f"*/{name}"):
            with suppress(OSError, ValueError):
                if path.parent.name != folder.resolve().name and f'"noise_key_digest": "{digest}"' in read_text(path):
                    return True
    return False
