"""Train one classifier, attack it, measure and score it: a trial, and the run it leaves."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from trilemma.data.dataset import Dataset
from trilemma.errors import InputError
from trilemma.files import alone_in, make_folder, read_json, write_json, written
from trilemma.models.prior import PRIORS, PriorNetwork, fitted
from trilemma.privacy.truth import truth_check
from trilemma.seeds import rng_for
from trilemma.training import checkpoints
from trilemma.training.execution import Execution
from trilemma.training.inputs import shifts_of
from trilemma.training.loop import Training
from trilemma.training.network import network_for
from trilemma.training.ranks import Ranks
from trilemma.training.recipe import Recipe
from trilemma.trial import environment
from trilemma.trial.clock import Clock
from trilemma.trial.fingerprint import FINGERPRINT, read_fingerprint, write_fingerprint
from trilemma.trial.folder import CONFIG, HISTORY, RESULT, SIGNALS, WEIGHTS, History, why_not_private
from trilemma.trial.measure import measure, predictions_of, quick_look, write_signals

NOT_COVERED = (
    "train accuracy, attack results, signals, histories and the numbers of the truth check are computed from the "
    "training images and are not covered by the guarantee; nor is a choice of hyper-parameters made by looking at "
    "results"
)

CHECKPOINT_SECONDS = 60.0
LOOK = 2000
"""Examples of each split that an evaluation on the way looks at, at most."""


class Stopped(Exception):
    """The training was asked to stop; its state is saved.  The message says how to go on."""


@dataclass(frozen=True)
class Progress:
    """What is going on: passed to the ``progress`` callback.

    Attributes:
      what: "training", or the name of a measurement.
      update, updates: how far the training is.
      loss: mean training loss since the last call (not private; for the screen), or None.
      epsilon: spent by the last evaluation, or None.
      evaluation: the history line that was just written, or None.
      preparing: features are being computed before the first update; ``update`` of ``updates`` counts images.
    """

    what: str
    update: int
    updates: int
    loss: float | None = None
    epsilon: float | None = None
    evaluation: dict[str, Any] | None = None
    preparing: bool = False


@dataclass(frozen=True)
class Run:
    """What a trial left in a folder.

    Attributes:
      folder: where.
      recipe: how it was trained.
      result: ``result.json``.
      notes: sentences about how it went (a damaged checkpoint, a slow method).
    """

    folder: Path
    recipe: Recipe
    result: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def not_private(self) -> str | None:
        """Why a run with a budget has no epsilon: which check of what it did failed, in one line; else None."""
        return why_not_private(self.result)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Run:
        """Read a finished run.

        Raises:
          InputError: the folder holds no finished run.
        """
        path = Path(folder)
        config = read_json(path / CONFIG)
        return cls(path, Recipe.from_dict(config["recipe"]), read_json(path / RESULT))


def train(
    recipe: Recipe,
    data: Dataset,
    out: str | os.PathLike[str],
    *,
    network: nn.Module | None = None,
    execution: Execution | None = None,
    ranks: Ranks | None = None,
    track: Iterable[int] = (),
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Train ``recipe`` on ``data`` and leave a run in ``out``.

    If ``out`` holds an unfinished run of the same recipe on the same data it goes on from its last checkpoint, and
    ends with the same weights to the bit on the same device.  A finished one is returned as it is.

    A run with a budget ends with a truth check (:mod:`trilemma.privacy.truth`).  If it fails, the run has no epsilon,
    and ``Run.not_private`` says why.

    Args:
      recipe: all choices.
      data: what to learn from.
      out: the run's folder; created if need be.
      network: a module of your own, from (n, C, H, W) to logits (n, classes), in place of ``recipe.model`` (which
        then is only its name).  Its start values are taken as they are.
      execution: device, physical batch, compute type.
      ranks: the processes that share this training, of which this is the first; the others call :func:`follow`.
      track: training examples whose membership probability every evaluation records.
      progress: called after every update and before every measurement.
      should_stop: asked before every update; True saves the state and raises :class:`Stopped`.

    Raises:
      InputError: what cannot be used, an ``out`` of another recipe, or a training that diverges.
      PrivacyError: what the guarantee would not cover.
      Stopped: see ``should_stop``.
    """
    folder = Path(out)
    execution = execution or Execution()
    tracked = tuple(sorted({int(index) for index in track}))
    for index in tracked:
        if not 0 <= index < len(data.train):
            raise InputError(f"cannot track example {index}: the training split has 0 to {len(data.train) - 1}")
    config = {
        "recipe": recipe.to_dict(),
        "data": {
            "request": dict(data.request),
            "examples": len(data.train),
            "test_examples": len(data.test),
            "classes": list(data.classes),
            "groups": None if data.group_names is None else list(data.group_names),
            "source": data.source,
        },
        "network": "recipe" if network is None else _signature(network),
        "track": list(tracked),
    }
    ranks = ranks or Ranks()
    if _same_run(folder, config, data.fingerprint):
        ranks.dismiss()
        return Run.load(folder)
    clock = Clock()

    def preparing(what: str, done: int, total: int) -> None:
        if progress:
            progress(Progress(what, done, total, preparing=True))
        if should_stop and should_stop():
            raise Stopped("stopped before the first update; the same command resumes from there")

    try:
        training = Training(recipe, data, execution, network, preparing, ranks)
        make_folder(folder)
        with alone_in(folder):
            return _train(training, folder, config, tracked, clock, progress, should_stop)
    except Stopped:
        ranks.dismiss()
        raise


def follow(
    recipe: Recipe,
    data: Dataset,
    ranks: Ranks,
    *,
    network: nn.Module | None = None,
    execution: Execution | None = None,
) -> None:
    """Do this process's share of a training that :func:`train` leads in the first of ``ranks``, until it is over.

    Raises:
      InputError: this process was given another recipe or other images.
      RankLost: another process has ended before the training has.
    """
    Training(recipe, data, execution or Execution(), network, ranks=ranks).follow()


def _signature(network: nn.Module) -> str:
    """Tells one given network from another by class and tensors (not by what its forward does)."""
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    digest = hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()
    return f"given: {type(network).__name__} {digest[:16]}"


def _same_run(folder: Path, config: dict[str, Any], fingerprint: str) -> bool:
    """Whether ``folder`` holds a finished run of ``config`` on the data of ``fingerprint``.

    Raises:
      InputError: it holds something else.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: give a folder as --out")
    if not (folder / CONFIG).exists():
        first = (f"{CONFIG}.part", f"{FINGERPRINT}.part", FINGERPRINT)  # of a run that was killed at its very start
        strangers = [name for name in os.listdir(folder) if not name.startswith(".") and name not in first]
        if strangers:
            raise InputError(f"{folder} holds other files ({strangers[0]}, ...): give a new or empty folder as --out")
        return False
    there = read_json(folder / CONFIG)
    for part, words in (
        ("recipe", "recipe"),
        ("data", "data"),
        ("network", "network"),
        ("track", "tracked examples"),
    ):
        old, new = there.get(part), config[part]
        if part == "data":  # how it was found may differ, what it is may not
            old, new = read_fingerprint(folder, there), fingerprint
        if old != new:
            changed = ""
            if part == "recipe" and isinstance(old, dict):
                keys = [key for key in {*old, *new} if old.get(key) != new.get(key)]
                changed = f" ({', '.join(sorted(keys))})"
            raise InputError(
                f"{folder} holds a run with another {words}{changed}: choose another --out, or delete that folder"
            )
    return (folder / RESULT).exists()


def _train(
    training: Training,
    folder: Path,
    config: dict[str, Any],
    track: tuple[int, ...],
    clock: Clock,
    progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool] | None,
) -> Run:
    recipe, data, state, course = training.recipe, training.data, training.state, training.course
    tell = progress or (lambda _: None)
    notes = list(training.said)
    saved, damage = checkpoints.load(folder)
    if damage:
        notes.append(damage if saved else f"{damage}; no whole checkpoint is left, so it starts anew")
    kept, evaluated = 0, 0
    losses: list[float] = []  # of the updates since the last evaluation
    if saved is not None:
        state.restore(saved)
        kept, evaluated = int(saved.header["history_lines"]), int(saved.header["evaluated"])
        losses = list(saved.header["losses"])
        if training.execution.memory is None and training.execution.physical_batch is None:
            training.physical_batch = int(saved.header.get("physical_batch", training.physical_batch))  # to the bit
        for phase, seconds in saved.header["seconds"].items():
            clock.seconds[phase] = clock.seconds.get(phase, 0.0) + float(seconds)
        notes.append(f"went on from update {state.update} of {course.updates}")
    training.lead()
    write_fingerprint(folder, data.fingerprint)  # before config.json, which marks the folder as a run's
    write_json(folder / CONFIG, config)
    history = History(folder / HISTORY, kept)
    clock.charge("start")

    def save() -> None:
        header = {
            "recipe": recipe.fingerprint,
            "history_lines": history.lines,
            "evaluated": evaluated,
            "losses": losses,
            "physical_batch": training.physical_batch,
            "seconds": clock.seconds,
            "event": None if course.plan is None else course.plan.event(state.update).to_dict(),
        }
        checkpoints.save(folder, state.to_checkpoint(header))
        clock.charge("checkpoints")

    look = _Look(training, track)
    epsilon: float | None = None
    last_save = time.monotonic()
    for point in course.evaluation_points(recipe.evaluations):
        if point <= evaluated:
            continue
        for loss in training.run_updates(point):
            if math.isfinite(loss):  # an empty draw has none
                losses.append(loss)
            clock.charge("updates")
            tell(Progress("training", state.update, course.updates, loss, epsilon))
            stop = should_stop is not None and should_stop()
            if stop or time.monotonic() - last_save > CHECKPOINT_SECONDS:
                save()
                last_save = time.monotonic()
            if stop and state.update < course.updates:
                raise Stopped(
                    f"stopped after update {state.update} of {course.updates}; the same command resumes from there"
                )
        epsilon = training.epsilon_spent()
        line = {
            "update": state.update,
            "epsilon": epsilon,
            "train_loss": sum(losses) / len(losses) if losses else None,
            **look(),
        }
        losses.clear()
        evaluated = point
        history.append(line)
        clock.charge("evaluation")
        tell(Progress("training", state.update, course.updates, line["train_loss"], epsilon, line))
        save()
        last_save = time.monotonic()

    training.ranks.dismiss()
    privacy = _privacy(training)
    wrong = why_not_private({"privacy": privacy})
    if wrong:
        epsilon = None
        history.withdraw_epsilon()
        notes.append(wrong)

    def named(what: str) -> None:
        tell(Progress(what, state.update, course.updates, None, epsilon))

    named("outputs of all examples")
    train_logits = training.logits("train").numpy()
    test_logits = training.logits("test").numpy()
    clock.charge("evaluation")
    measured, found = measure(data, train_logits, test_logits, seed=recipe.seed, tell=named)
    clock.charge("attacks and fairness")
    index = np.concatenate([np.arange(len(data.train)), np.arange(len(data.test))])
    write_signals(folder / SIGNALS, predictions_of(data, train_logits, test_logits), found, index)
    _write_weights(folder / WEIGHTS, training)
    clock.charge("files")
    result = {
        **measured,
        "privacy": privacy,
        "course": {
            "batch_size": course.batch_size,
            "physical_batch": training.physical_batch,
            "updates": course.updates,
            "learning_rate": course.learning_rate,
            "views": recipe.multiplicity,
            "optimal_batch_size": None
            if course.choice is None
            else {"rule": course.choice.rule, "weighed": course.choice.weighed},
            "gradient_method": training.method if recipe.private else None,
        },
        "seconds": {"total": sum(clock.seconds.values()), **clock.seconds},
        "environment": environment.describe(training.device, training.autocast, recipe.seed),
        "notes": notes,
        "data": {"notes": list(data.notes)},
    }
    write_json(folder / RESULT, result)
    checkpoints.remove(folder)
    return Run(folder, recipe, result, (*data.notes, *notes))


class _Look:
    """Evaluations on the way: the same part of each split every time, with the tracked examples in it."""

    def __init__(self, training: Training, track: tuple[int, ...]) -> None:
        data = training.data
        rng = rng_for(training.recipe.seed, "evaluation rows")
        rows = rng.permutation(len(data.train))[:LOOK]
        self._training, self._track = training, track
        self._rows = np.unique(np.concatenate([rows, np.array(track, dtype=np.int64)]))
        self._test_rows = np.sort(rng.permutation(len(data.test))[:LOOK])

    def __call__(self) -> dict[str, Any]:
        data = self._training.data
        return quick_look(
            data,
            self._rows,
            self._test_rows,
            self._training.logits("train", self._rows).numpy(),
            self._training.logits("test", self._test_rows).numpy(),
            self._track,
        )


def _privacy(training: Training) -> dict[str, Any] | None:
    """``privacy`` of result.json, computed from the event that happened."""
    plan, recipe = training.course.plan, training.recipe
    if plan is None:
        return None
    evidence, event = training.state.evidence, plan.event(training.state.update)
    assert evidence is not None
    digest = None if recipe.secret_noise else training.state.noise.key_digest
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
        "noise_source": "operating system, not recorded"
        if recipe.secret_noise
        else "a key made of the seed and all else that the run is: keep the seed secret if the weights are published, "
        "since whoever knows it and the run can subtract the noise",
        "noise_key_digest": digest,
        # Only runs of one digest share their noise, and keys from the operating system never repeat.
        "noise_shared": not (recipe.secret_noise or digest),
    }
    truth = truth_check(plan, evidence, record, bfloat16=training.autocast is not None)
    if not truth.passed:
        record |= {"epsilon": None, "epsilon_rdp": None, "covered": "nothing: the run failed its truth check"}
    return record | {"truth": truth.to_dict()}


def _write_weights(path: Path, training: Training) -> None:
    weights = {n: t.detach().cpu().contiguous().clone() for n, t in training.state.evaluation_weights().items()}
    with written(path) as part:
        save_file(weights, part)


def load_network(run: Run, data: Dataset) -> nn.Module:
    """The network of a finished run, with its released weights, in evaluation mode on the CPU.

    Raises:
      InputError: the run's network was given from outside, or its weights do not fit.
    """
    from safetensors.torch import load_file

    config = read_json(run.folder / CONFIG)
    if config["network"] != "recipe":
        raise InputError(f"{run.folder} was trained with a network of your own: load its weights yourself")
    network = network_for(run.recipe, data)
    network.load_state_dict(load_file(run.folder / WEIGHTS))
    if run.recipe.model in PRIORS:
        assert isinstance(network, nn.Linear)
        prior = fitted(PRIORS[run.recipe.model], data.image_shape, run.recipe.prior_seed)
        network = PriorNetwork(prior, network, data.mean, data.deviation, shifts_of(run.recipe, data))
    return network.eval().to(torch.device("cpu"))
