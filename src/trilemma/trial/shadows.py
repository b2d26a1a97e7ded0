"""Shadow models of a run: trained as it was, on the same number of examples, half of the audited ones among them.

A shadow differs from its target in its seed and its members, and in nothing else.  It is trained by the same
:class:`~trilemma.training.loop.Training`; only its outputs on the audited examples are recorded.  Its noise
is its own: seeded noise follows from the shadow's seed and members, secret noise from the operating system, and a
shadow whose noise is that of the target or of another shadow is refused.

**Files.**  Shadows are in ``shadows.private/KEY`` in the run's folder, where KEY follows from the recipe, the data and
the audited examples, so that the next audit of the same examples reuses them.  Each leaves ``NUMBER/outputs.npy``
and, last of all, when its checkpoints are gone, ``NUMBER/shadow.json``.  None of it may be released: it is computed
from the training images without a guarantee for the run, and names which examples were members.

**Views.**  Outputs are read with the views that the training drew and no others: the image as it is and, where the
training mirrored images, its mirror image, whose logits are averaged.  Views that the training did not use hurt the
attack (a mirror image without flips in training lowers the true positive rate at 1 % from 40 to 22 %).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.attacks import Predictions
from trilemma.data.dataset import Dataset, Split
from trilemma.errors import InputError, PrivacyError
from trilemma.files import alone_in, make_folder, read_json, reading, write_json, written
from trilemma.models.prior import PRIORS
from trilemma.progress import Progress
from trilemma.training import checkpoints
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.recipe import Recipe
from trilemma.trial.audited import Audited, audited_split, shadow_data
from trilemma.trial.fingerprint import read_fingerprint
from trilemma.trial.privacy_record import privacy_record
from trilemma.trial.progress import Stopped
from trilemma.trial.run import CONFIG, SHADOWS, WEIGHTS, Run, why_not_private
from trilemma.trial.train import CHECKPOINT_SECONDS
from trilemma.trial.weights import read_weights

SHADOW, OUTPUTS = "shadow.json", "outputs.npy"
_NOTE = "Not for release: computed from the training images, and not covered by the run's guarantee."


@dataclass(frozen=True, eq=False)
class Target:
    """The run whose shadows are trained, with what it was trained on.

    Attributes:
      run: finished.
      data: what it was trained and tested on.
      audited: the examples that it is attacked on.
      imports: names of parts from outside that may be imported: none merely because the run's folder names it.
    """

    run: Run
    data: Dataset
    audited: Audited
    imports: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        config = read_json(self.run.folder / CONFIG)
        if config.get("network") != "recipe":
            raise InputError(
                f"{self.run.folder} was trained with a module that was given in Python, which cannot be built again: "
                "name it by module:name in the recipe, or audit predictions with reference_logits and reference_member"
            )
        names = dict.fromkeys(name for _, name in self.run.recipe.from_outside if name not in self.imports)
        if names:
            raise InputError(
                f"{self.run.folder} was trained with {', '.join(names)}, which is not imported because a folder names "
                f"it: if you trust it, add --network {','.join(names)}"
            )
        if config.get("canaries"):
            raise InputError(
                f"{self.run.folder} was trained with canaries, which shadows would lack: train it without --canaries "
                "to audit it with shadows"
            )
        if read_fingerprint(self.run.folder, config) != self.data.fingerprint:
            raise InputError(f"{self.run.folder} was not trained on these data: give the data of the run")
        if self.run.not_private:
            raise InputError(
                f"{self.run.folder} has no guarantee: {self.run.not_private}; train it again before it is audited"
            )

    @property
    def recipe(self) -> Recipe:
        """What all shadows are trained by, but for the seed.

        Where OBS chose the batch by the data, it is taken as it was chosen: on other members it might choose another.
        """
        recipe = self.run.recipe
        if not recipe.has("obs") or recipe.private:
            return recipe
        course = self.run.result["course"]
        techniques = tuple(code for code in recipe.techniques if code != "obs")
        size, rate = int(course["batch_size"]), float(course["learning_rate"])
        return replace(recipe, techniques=techniques, batch_size=size, learning_rate=rate)

    def shadow_recipe(self, shadow: int) -> Recipe:
        """The recipe of one shadow: its seed follows from the target's recipe, the audited examples and its number."""
        text = f"shadow {shadow} of {self.run.recipe.fingerprint} {self.audited.digest}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        return replace(self.recipe, seed=seed)

    @property
    def store(self) -> Path:
        """The folder of all shadows of this target on these examples."""
        parts = (self.run.recipe.fingerprint, self.data.fingerprint, self.audited.digest)
        return self.run.folder / SHADOWS / hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    def shadow_folder(self, shadow: int) -> Path:
        """The folder of one shadow."""
        return self.store / f"{shadow:03d}"

    @property
    def mirrored(self) -> bool:
        """Whether the training saw mirror images."""
        recipe = self.recipe
        flips = self.data.flips if recipe.flips is None else recipe.flips
        return recipe.has("am") and flips and recipe.model not in PRIORS

    def identity(self, shadow: int) -> dict[str, Any]:
        """What a shadow must be: stored with it, and compared when it is read back."""
        course = self.run.result["course"]
        privacy = self.run.result["privacy"] or {}
        return {
            "recipe": self.shadow_recipe(shadow).to_dict(),
            "data": self.data.fingerprint,
            "audited": self.audited.digest,
            "members": self.audited.member_digest(shadow),
            "examples": len(self.data.train),
            "batch_size": course["batch_size"],
            "updates": course["updates"],
            "noise_multiplier": privacy.get("noise_multiplier"),
        }


def train_shadow(
    target: Target,
    shadow: int,
    *,
    execution: Execution | None = None,
    progress: Progress = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> float:
    """Train one shadow, resuming from its checkpoint if there is one, and leave its outputs on the audited examples.

    Args:
      target: the run that the shadow belongs to.
      shadow: its number.
      execution: device, physical batch, compute type.
      progress: called with (what is being done, updates made, all updates).
      should_stop: asked before every update; True saves the state and raises Stopped.

    Returns:
      The seconds that this call took; 0 for a shadow that was there already.

    Raises:
      InputError: its folder cannot be written to, or the training diverges.
      PrivacyError: it has a budget and failed its truth check.
      Stopped: see ``should_stop``.
    """
    folder = target.shadow_folder(shadow)
    make_private_folder(target.run.folder / SHADOWS)
    make_folder(folder)
    with alone_in(folder, waiting=lambda: progress("waiting for another process", 0, 0)):  # of an audit that was killed
        if (folder / SHADOW).exists():
            _remove_checkpoints(folder)
            return 0.0
        began = time.monotonic()
        data = shadow_data(target.data, target.audited, shadow)
        data = replace(data, test=_views(data.test, target.mirrored))
        training = Training(
            target.shadow_recipe(shadow), data, execution or Execution(), progress=_stopping(progress, should_stop)
        )
        _make_updates(training, folder, progress, should_stop)
        record = privacy_record(training, folder)
        if wrong := why_not_private({"privacy": record}):
            raise PrivacyError(f"shadow {shadow}: {wrong}")
        with written(folder / OUTPUTS) as part, open(part, "wb") as file:
            np.save(file, _mean_of_views(training, len(target.audited)))
        # First: a shadow that counts as finished is not trained again, and the key of its noise would stay.  One that
        # is killed between the two is retrained.
        _remove_checkpoints(folder)
        write_json(
            folder / SHADOW,
            {
                **_identity_of(target, shadow, training),
                "noise_key_digest": None if record is None else record["noise_key_digest"],
                "outputs_digest": _file_digest(folder / OUTPUTS),
                "note": _NOTE,
            },
        )
        return time.monotonic() - began


def _remove_checkpoints(folder: Path) -> None:
    try:
        checkpoints.remove(folder)
    except OSError as error:
        raise InputError(f"the checkpoints in {folder} hold the key of the noise: delete them ({error})") from error


def make_private_folder(path: Path) -> None:
    """Create a folder that its owner alone can read."""
    make_folder(path)
    with suppress(OSError):
        os.chmod(path, 0o700)


def _stopping(progress: Progress, should_stop: Callable[[], bool]) -> Progress:
    def tell(what: str, done: int, total: int) -> None:
        progress(what, done, total)
        if should_stop():
            raise Stopped("stopped before the first update; the same command resumes from there")

    return tell


def _make_updates(training: Training, folder: Path, progress: Progress, should_stop: Callable[[], bool]) -> None:
    """All updates that are still to be made, with checkpoints in between.

    A checkpoint made on other terms (:mod:`trilemma.trial.resumption`) is not refused: no epsilon is reported of a
    shadow model, which is not released.
    """
    saved, _ = checkpoints.load(folder)
    if saved is not None:
        training.state.restore(saved)
        if training.execution.memory is None and training.execution.physical_batch is None:
            training.physical_batch = int(saved.header["physical_batch"])
    updates, saved_at = training.course.updates, time.monotonic()
    for _ in training.run_updates(updates):
        progress("training", training.state.update, updates)
        stop = should_stop()
        if stop or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            header = {"recipe": training.recipe.fingerprint, "physical_batch": training.physical_batch}
            checkpoints.save(folder, training.state.to_checkpoint(header))
            saved_at = time.monotonic()
        if stop and training.state.update < updates:
            raise Stopped(f"stopped after update {training.state.update} of {updates}")


def _identity_of(target: Target, shadow: int, training: Training) -> dict[str, Any]:
    """As :meth:`Target.identity`, with what the training really came to."""
    course = training.course
    return target.identity(shadow) | {
        "examples": len(training.data.train),
        "batch_size": course.batch_size,
        "updates": training.state.update,
        "noise_multiplier": None if course.plan is None else course.plan.noise_multiplier,
    }


def _views(split: Split, mirrored: bool) -> Split:
    """The split, followed by its mirror images where the training saw such."""
    if not mirrored:
        return split
    twice = split.take(np.tile(np.arange(len(split)), 2))
    images = np.concatenate([split.images, split.images[..., ::-1]])
    return replace(twice, images=images)


def _mean_of_views(training: Training, count: int) -> NDArray[np.float32]:
    """float32 (count, C): the mean logits of each audited example's views."""
    logits = training.logits("test").numpy()
    mean: NDArray[np.float32] = logits.reshape(-1, count, logits.shape[1]).mean(axis=0, dtype=np.float32)
    return mean


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def target_outputs(target: Target, *, execution: Execution | None = None, progress: Progress = lambda *_: None) -> Any:
    """float32 (2a, C): the target's logits on the audited examples, read with the same views as the shadows'.

    Raises:
      InputError: the run's weights cannot be read.
    """
    data = replace(target.data, test=_views(audited_split(target.data, target.audited), target.mirrored))
    training = Training(target.recipe, data, execution or Execution(), progress=progress)
    _, weights = read_weights(target.run.folder / WEIGHTS)
    with reading(target.run.folder / WEIGHTS):
        try:
            training.state.model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"cannot be read ({error}): put the file back") from error
    training.state.average = {}
    return _mean_of_views(training, len(target.audited))


def finished_shadows(target: Target, count: int) -> list[int]:
    """Which of the shadows 0 to ``count`` - 1 are there."""
    return [shadow for shadow in range(count) if (target.shadow_folder(shadow) / SHADOW).exists()]


def shadow_predictions(target: Target, outputs: NDArray[np.float32], count: int) -> Predictions:
    """The input of an audit: the target's outputs on the audited examples, and those of ``count`` shadows.

    Args:
      target: the run.
      outputs: float32 (2a, C), its :func:`target_outputs`.
      count: how many shadows, all of them finished.

    Raises:
      InputError: a shadow was made by another recipe, on other data or of another size, shares its noise with
        another, or cannot be read.
    """
    stored = [_read(target, shadow, outputs.shape) for shadow in range(count)]
    _refuse_shared_noise(target, [about for about, _ in stored])
    return replace(
        audited_predictions(target, outputs),
        reference_logits=np.stack([logits for _, logits in stored]),
        reference_member=np.stack([target.audited.half(shadow) for shadow in range(count)]),
    )


def audited_predictions(target: Target, outputs: NDArray[np.float32]) -> Predictions:
    """The target's outputs float32 (2a, C) on the audited examples, without those of shadows."""
    audited = target.audited
    split = audited_split(target.data, audited)
    test_sources = target.data.test.sources
    others = audited.nonmembers if test_sources is None else test_sources[audited.nonmembers]
    return Predictions(
        logits=outputs,
        labels=split.labels,
        member=audited.member,
        groups=split.groups,
        group_names=None if split.groups is None else target.data.group_names,
        class_names=target.data.classes,
        sources=np.concatenate([audited.members, others]),
    )


def _read(target: Target, shadow: int, shape: tuple[int, ...]) -> tuple[dict[str, Any], NDArray[np.float32]]:
    folder = target.shadow_folder(shadow)
    _remove_checkpoints(folder)  # an earlier version could leave them beside a finished shadow
    about = read_json(folder / SHADOW)
    for key, value in target.identity(shadow).items():
        if about.get(key) != value:
            raise InputError(
                f"the shadow in {folder} differs from its target in {key.replace('_', ' ')}: delete that folder, and "
                "the same command trains it again"
            )
    path = folder / OUTPUTS
    with reading(path):
        try:
            if _file_digest(path) != about.get("outputs_digest"):
                raise ValueError("its digest is not the one in shadow.json")
            logits: NDArray[np.float32] = np.load(path, allow_pickle=False)
        except OSError as error:
            raise InputError(f"cannot be read ({error}): delete its folder to train the shadow again") from error
        if logits.shape != shape or logits.dtype != np.float32:
            raise ValueError(f"it holds {logits.dtype} {logits.shape}, not float32 {shape}")
    return about, logits


def _refuse_shared_noise(target: Target, shadows: list[dict[str, Any]]) -> None:
    """Noise that repeats would cancel, or leak, between two models."""
    privacy = target.run.result["privacy"]
    if privacy is None:
        return
    digests = [privacy.get("noise_key_digest"), *(about.get("noise_key_digest") for about in shadows)]
    known = [digest for digest in digests if digest is not None]
    if len(set(known)) < len(known):
        raise InputError(f"two models in {target.store} share their noise: delete that folder to retrain the shadows")
