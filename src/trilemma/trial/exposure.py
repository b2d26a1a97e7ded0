"""How exposed each training example of a run is, as attacks with shadow models measure it.

An audit draws some training examples and as many test images.  A ranking needs the exposure of every training example,
so a run may take several audits, which together cover all examples (:func:`~trilemma.trial.audited.audited_blocks`);
each has shadow models of its own.  RMIA's score is the share of the non-members that an example dominates, and LiRA's
is the log of a likelihood ratio: both mean the same in every block, and the blocks are put together as they are.

The scores are in the folder of the run's shadows and, like these, must not be released.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks.named import SHADOW_SCORES
from trilemma.attacks.references import References
from trilemma.attacks.signals import read_signals
from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.files import alone_in, reading, written
from trilemma.progress import Progress
from trilemma.training.execution import Execution
from trilemma.trial.audited import Audited, audited_blocks
from trilemma.trial.run import SHADOWS, Run
from trilemma.trial.shadows import (
    Target,
    make_private_folder,
    shadow_predictions,
    target_outputs,
    train_shadow,
)
from trilemma.words import RANKS

Array = NDArray[np.float64]

SHADOWS_EACH = 4
"""Shadows for each block: on CIFAR-10, four find 97 % of the members that 64 do at 1 % false positives."""

BY_SHADOWS: tuple[str, ...] = tuple(rank for rank in RANKS if rank in SHADOW_SCORES)
"""The rankings by shadow models, in the order of the rows of the file."""

EXPOSURE = "exposure.npy"


def has_exposure(run: Path) -> bool:
    """Whether the exposure of a run's training examples was measured."""
    return (run / SHADOWS / EXPOSURE).is_file()


def read_exposure(run: Path, rank: str) -> Array:
    """float64 (N,): the score of each training example by one of ``BY_SHADOWS``, in the order of the training split.

    Raises:
      InputError: it was not measured, or the file is not what was written.
    """
    path = run / SHADOWS / EXPOSURE
    with reading(path):
        try:
            scores = np.load(path, allow_pickle=False)
        except OSError as error:
            raise InputError(f"cannot be read ({error}): delete it, and run the study again") from error
        if scores.dtype != np.float64 or scores.shape[:-1] != (len(BY_SHADOWS),) or not np.isfinite(scores).all():
            raise ValueError(f"it holds {scores.dtype} {scores.shape}, or is not finite")
        of_rank: Array = scores[BY_SHADOWS.index(rank)]
        return of_rank


def measure_exposure(
    run: Run,
    data: Dataset,
    *,
    execution: Execution | None = None,
    progress: Progress = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train the shadows of a run that are missing, attack every training example, and write the scores.

    Args:
      run: the finished run.
      data: the data that it was trained and tested on.
      execution: device, physical batch, compute type.
      progress: called with (what is being done, updates made, all updates).
      should_stop: asked before every update of a shadow.

    Raises:
      InputError: the run cannot have shadows, a class (or a group of it) has no test image, or a shadow diverges.
      PrivacyError: a shadow with a budget failed its truth check.
      Stopped: see ``should_stop``; the same call resumes from there.
    """
    folder = run.folder / SHADOWS
    make_private_folder(folder)
    with alone_in(folder, waiting=lambda: progress("waiting for another process", 0, 0)):
        if has_exposure(run.folder):
            return
        scores = {name: np.full(len(data.train), np.nan) for name in BY_SHADOWS}
        blocks = audited_blocks(data, run.recipe.seed)
        for number, block in enumerate(blocks):
            target = Target(run, data, block)
            for shadow in range(SHADOWS_EACH):
                what = f"shadow {number * SHADOWS_EACH + shadow + 1} of {len(blocks) * SHADOWS_EACH}"

                def tell(_: str, done: int, total: int, what: str = what) -> None:
                    progress(what, done, total)

                train_shadow(target, shadow, execution=execution, progress=tell, should_stop=should_stop)
            for name, values in _member_scores(target, block, execution).items():
                scores[name][block.members] = values
        if any(np.isnan(values).any() for values in scores.values()):
            raise InputError(f"{run.folder}: a training example was left without a score; this is an internal error")
        with written(folder / EXPOSURE) as part, open(part, "wb") as file:
            np.save(file, np.stack([scores[name] for name in BY_SHADOWS]))


def _member_scores(target: Target, block: Audited, execution: Execution | None) -> dict[str, Array]:
    predictions = shadow_predictions(target, target_outputs(target, execution=execution), SHADOWS_EACH)
    signals, references = read_signals(predictions), References.of(predictions)
    return {name: SHADOW_SCORES[name](predictions, signals, references)[block.member] for name in BY_SHADOWS}
