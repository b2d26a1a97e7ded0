"""``privacy`` of ``result.json``: what a run guarantees, and whether it did what the guarantee is computed for."""

from __future__ import annotations

from typing import Any

from trilemma.privacy.ceiling import ceiling
from trilemma.privacy.truth import truth_check
from trilemma.training.loop import Training

NOT_COVERED = (
    "train accuracy, attack results, signals, histories and the numbers of the truth check are computed from the "
    "training images and are not covered by the guarantee; nor is a choice of hyper-parameters made by looking at "
    "results"
)


def privacy_record(training: Training) -> dict[str, Any] | None:
    """Computed from the event that happened, once the last update was made; None without a budget.

    Where the truth check fails there is no epsilon, and nothing is covered.
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
        "neighbouring": "add-or-remove-one",
        "unit": "one training example",
        "accountant": "pld",
        "epsilon_rdp": training.epsilon_spent("rdp"),
        "updates": training.state.update,
        "event": event.to_dict(),
        "covered": "the weights in model.safetensors and what is computed from them alone",
        "not_covered": NOT_COVERED,
        "noise_source": "secret" if secret else "seeded",
        "noise_key_digest": digest,
        # Only runs of one digest share their noise, and keys from the operating system never repeat.
        "noise_shared": not (secret or digest),
    }
    truth = truth_check(plan, evidence, record, bfloat16=training.autocast is not None)
    bounds: dict[str, Any] | None = ceiling(event).to_dict()
    if not truth.passed:
        record |= {"epsilon": None, "epsilon_rdp": None, "covered": "nothing: the run failed its truth check"}
        bounds = None
    return record | {"truth": truth.to_dict(), "ceiling": bounds}
