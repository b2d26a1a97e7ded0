"""What a checkpoint records of its training, and why another training must not resume from it.

What a private run reports, it reports of all its updates: one sampling probability, one noise multiplier.  A checkpoint
that was made with others (by another version, whose calibration differs) would be counted as if it had been made with
these.  And a copy of a stopped run would become a second model, while each of the two reports what one has cost; so a
run whose noise is secret continues in its own folder only.

**Why the key is not drawn anew.**  A checkpoint could do without the key of the noise: a resumption would take another
from the operating system, and a copy would have nothing of the original's.  But updates that a kill has lost are made
again, and with another key they would be a second release, uncounted, of all that was seen of the first.  With the same
key and the same rounding they are the same release; and no update is made again whose evaluation was shown: a
checkpoint is written before and after each line of the history, and a resumption that would go back behind a line is
refused (``preflight.refuse_to_go_back``).  What the key alone could not prevent, a copy that continues with other
rounding and the same noise, does not happen, since noise follows from the sum too (:mod:`trilemma.privacy.noise`).

A copy that takes the place of the original, or is at the same path on another machine, is not recognized as a copy.
The two models then have the same updates up to the copy, and after it the same where they round alike.  Where they do
not, the noise of each is its own and their draws are common: both together have spent more than either says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.errors import PrivacyError
from trilemma.training.loop import Training


def terms_of(training: Training, folder: Path) -> dict[str, Any]:
    """What the header of a checkpoint says of a training after the updates it has made, and of the folder it is in.

    Returns:
      "event" (as :meth:`~trilemma.privacy.accounting.Event.to_dict` writes it), "expected_batch" (B) and
      "clipping_norm" (C), each None without a budget; "folder", its resolved path if the noise is secret, else None.
    """
    plan = training.course.plan
    return {
        "event": plan and plan.event(training.state.update).to_dict(),
        "expected_batch": plan and plan.batch_size,
        "clipping_norm": plan and plan.clipping_norm,
        "folder": str(folder.resolve()) if training.recipe.keeps_noise_secret else None,
    }


def refuse_other_terms(header: Mapping[str, Any], training: Training, folder: Path) -> None:
    """Refuse to go on from a checkpoint that was made on other terms.

    Args:
      header: of the checkpoint.
      training: with the state of the checkpoint.
      folder: of the run.

    Raises:
      PrivacyError: the updates of the checkpoint were made with another sampling probability, noise multiplier, batch
        size or clipping norm; or its noise is secret and it was made in another folder.
    """
    now = terms_of(training, folder)
    made = {name: header.get(name) for name in now}
    if made["folder"] != now["folder"]:
        raise PrivacyError(
            f"this run was stopped in {made['folder']}, and its noise is secret: a copy that continues would be a "
            "second model from one budget; move the folder back there to continue, or start again in another --out"
        )
    before, after = _numbers(made), _numbers(now)
    if differences := [
        f"{name} {before.get(name)}, not {value}" for name, value in after.items() if before.get(name) != value
    ]:
        raise PrivacyError(
            f"the updates in the checkpoint were made with {'; '.join(differences)} as in this training, perhaps "
            "by another version of a package, so no epsilon would hold for both: start again in another --out"
        )


def _numbers(terms: Mapping[str, Any]) -> dict[str, Any]:
    """The terms in words, flat."""
    event = terms["event"] or {}
    return {
        name.replace("_", " "): value for name, value in {**event, **terms}.items() if name not in ("event", "folder")
    }
