"""Train one classifier, attack it, measure and score it: a trial, and the run that it leaves.

A trial goes through these steps in this order.  Each leaves in the folder what the next one needs, so that the same
command resumes after any of them.

1. ``train``: what cannot be trained or measured is refused; a finished run is returned as it is.
2. ``_Trial.resume``: from the newest whole checkpoint, if there is one.
3. ``_Trial.make_updates``: updates, with evaluations and checkpoints in between, until the last update.
4. ``_Trial.release``: the truth check; weights and privacy record are written, checkpoints removed.
5. ``_Trial.measure``: attacks, fairness and score, from the weights of step 4; ``result.json`` is written last.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save as serialized  # save_file says in its own way that a disk is full
from torch import nn

from trilemma.checksums import check, write_sealed
from trilemma.data.dataset import Dataset
from trilemma.errors import InputError, check_type
from trilemma.files import alone_in, make_folder, write_json, written
from trilemma.hints import one_line
from trilemma.training import checkpoints
from trilemma.training.canaries import Canaries
from trilemma.training.execution import Execution
from trilemma.training.loop import Training
from trilemma.training.network import given_network
from trilemma.training.ranks import Ranks
from trilemma.training.recipe import Recipe
from trilemma.trial import environment, preflight
from trilemma.trial.canary_record import canary_record
from trilemma.trial.card import write_card
from trilemma.trial.clock import Clock
from trilemma.trial.course_record import course_in_words, course_record
from trilemma.trial.display import shown
from trilemma.trial.evaluation import Evaluation
from trilemma.trial.facts import metadata_of
from trilemma.trial.fingerprint import write_fingerprint
from trilemma.trial.identity import config_of, holds_finished_run
from trilemma.trial.listeners import Listener, Listeners
from trilemma.trial.measure import measure, predictions_of
from trilemma.trial.privacy_record import privacy_record
from trilemma.trial.progress import Stopped, TrialProgress
from trilemma.trial.resumption import refuse_other_terms, terms_of
from trilemma.trial.run import (
    CONFIG,
    HISTORY,
    PUT_BACK,
    RESULT,
    SEALED,
    SIGNALS,
    TRAINED,
    WEIGHTS,
    History,
    Run,
    why_not_for_release,
    why_not_private,
    withdraw_epsilon,
)
from trilemma.trial.signals import write_signals
from trilemma.trial.weights import read_weights

CHECKPOINT_SECONDS = 60.0


def train(
    recipe: Recipe,
    data: Dataset,
    out: str | os.PathLike[str],
    *,
    network: nn.Module | None = None,
    execution: Execution | None = None,
    ranks: Ranks | None = None,
    track: Iterable[int] = (),
    canaries: Canaries | None = None,
    progress: Callable[[TrialProgress], None] | bool | None = None,
    listeners: Iterable[Listener] = (),
    should_stop: Callable[[], bool] | None = None,
) -> Run:
    """Train ``recipe`` on ``data`` and leave a run in ``out``.

    If ``out`` holds an unfinished run of the same recipe on the same data, it is resumed from its last checkpoint, and
    ends with bitwise the same weights on the same device.  A run that was trained and not measured is only measured.
    A finished run is returned unchanged.

    A run with a budget ends with a truth check (:mod:`trilemma.privacy.truth`).  If it fails, or canaries contradict
    the budget, the run has no epsilon, and ``Run.not_private`` says why.

    With a budget, sampling and noise are keyed by the operating system's randomness unless the recipe has
    ``secret_noise=False``; ``Run.not_for_release`` then says what follows.  Until the run is done, the key is in the
    checkpoints in ``out``, which nobody but the owner can read (mode 0600) and which are deleted at the end.

    Args:
      recipe: all choices.
      data: to train and test on.
      out: the run's folder; created if necessary.
      network: a module of your own, from (n, C, H, W) to logits (n, classes), whose copy is trained in place of
        ``recipe.model``.
      execution: device, physical batch, compute type.
      ranks: the processes that share this training, of which this is the first; the others call :func:`follow`.
      track: training examples whose membership probability every evaluation records.
      canaries: extra examples that audit the budget; ``Run.contradicted`` says if they prove that more was spent.
      progress: called as work is done; None shows it in a terminal or a notebook, True anywhere, False nowhere.
      listeners: told of every evaluation and of the result; with a budget, only what may be released.
      should_stop: called before every update; if it returns True, the state is saved and :class:`Stopped` is raised.

    Raises:
      InputError: an argument cannot be used, ``out`` holds another run, the run could not be measured on these data, a
        listener fails, or the training diverges.
      PrivacyError: the guarantee would not cover the training.
      Stopped: see ``should_stop``.
    """
    check_type("the folder of the run", out, (str, os.PathLike), "its path")
    folder = Path(out)
    tracked = preflight.tracked_examples(track, data)
    network = given_network(network, data)
    config = config_of(recipe, data, network, tracked, canaries)
    ranks = ranks or Ranks()
    if holds_finished_run(folder, config, data.fingerprint):
        ranks.dismiss()
        checkpoints.remove(folder)  # one may have been put back there
        return Run.load(folder)
    preflight.refuse_unmeasurable(data, tracked, recipe.seed)
    preflight.refuse_wrong_parts(recipe, data)
    told, clock = Listeners(listeners, private=recipe.private), Clock()
    with shown(progress) as tell:

        def preparing(what: str, done: int, total: int) -> None:
            tell(TrialProgress(what, done, total, preparing=True))
            if should_stop and should_stop():
                raise Stopped("stopped before the first update; the same command resumes from there")

        try:
            training = Training(recipe, data, execution or Execution(), network, preparing, ranks, canaries)
            make_folder(folder)
            with alone_in(folder):
                return _Trial(training, folder, config, tracked, clock, tell, told, should_stop).run()
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
    """Compute this process's share of a training that :func:`train` leads in the first of ``ranks``, until its end.

    Raises:
      InputError: this process was given another recipe or other images.
      RankLost: another process has ended before the training has.
    """
    Training(recipe, data, execution or Execution(), given_network(network, data), ranks=ranks).follow()


@dataclass(eq=False)
class _Trial:
    """One trial; its methods are the steps that the module's docstring lists.

    Attributes:
      training: recipe, data, course and state.
      folder: the folder of the run, held by this process.
      config: ``config.json``.
      track: training examples that every evaluation records.
      clock: the time of each phase.
      tell: called after every update and before every measurement.
      listeners: told of every evaluation and of the result.
      should_stop: called before every update.
      notes: sentences about what happened.
      epsilon, evaluated: the epsilon spent at the last evaluation, and its update.
      losses: the losses of the updates since the last evaluation.
      saved_at: when the last checkpoint was written.
    """

    training: Training
    folder: Path
    config: dict[str, Any]
    track: tuple[int, ...]
    clock: Clock
    tell: Callable[[TrialProgress], None]
    listeners: Listeners
    should_stop: Callable[[], bool] | None
    notes: list[str] = field(default_factory=list)
    epsilon: float | None = None
    evaluated: int = 0
    losses: list[float] = field(default_factory=list)
    saved_at: float = field(default_factory=time.monotonic)

    def run(self) -> Run:
        if holds_finished_run(self.folder, self.config, self.training.data.fingerprint):
            self.training.ranks.dismiss()
            return Run.load(self.folder)  # another process finished it while this one was getting ready
        if (self.folder / TRAINED).exists():
            self.training.ranks.dismiss()
            trained = self.load_weights()
        else:
            self.make_updates(self.resume())
            trained = self.release()
        try:
            run = self.measure(trained)
        except InputError as error:
            raise InputError(
                f"measuring failed after the training: {error} (the weights and the privacy record, {WEIGHTS} and "
                f"{TRAINED}, are kept in {self.folder}; the same command only measures)"
            ) from error
        self.listeners.ended(run.result)
        return run

    def resume(self) -> History:
        """Restore the newest whole checkpoint, if there is one; write ``config.json`` and cut the history to fit.

        Raises:
          InputError: a file cannot be read or written.
        """
        training = self.training
        self.notes += training.notes
        saved, damage = checkpoints.load(self.folder)
        if saved is None:
            preflight.refuse_a_second_training(self.folder, training.recipe, damage)
        if damage:
            self.notes.append(damage if saved else f"{damage}; no whole checkpoint is left, so it starts again")
        lines = 0 if saved is None else self._restore(saved)
        training.lead()
        write_fingerprint(self.folder, training.data.fingerprint)  # before config.json: it marks the folder as a run's
        write_json(self.folder / CONFIG, self.config)
        history = History(self.folder / HISTORY, lines)
        self.clock.charge("start")
        return history

    def _restore(self, saved: checkpoints.Checkpoint) -> int:
        """Take on the saved state; return the number of lines that the history had."""
        training, header = self.training, saved.header
        training.state.restore(saved)
        refuse_other_terms(header, training, self.folder)
        preflight.refuse_to_go_back(self.folder, training.recipe, training.state.update)
        self.evaluated, self.losses = int(header["evaluated"]), list(header["losses"])
        if training.execution.memory is None and training.execution.physical_batch is None:
            training.physical_batch = int(header.get("physical_batch", training.physical_batch))  # bitwise resume
        self.clock.add(header["seconds"])
        self.notes.append(f"went on from update {training.state.update} of {training.course.updates}")
        return int(header["history_lines"])

    def make_updates(self, history: History) -> None:
        """Make the remaining updates, with evaluations and checkpoints in between.

        Raises:
          Stopped: ``should_stop`` returned True; the state is saved.
        """
        training, course = self.training, self.training.course
        evaluate = Evaluation(training, self.track)
        self.tell(TrialProgress("training", training.state.update, course.updates, about=course_in_words(training)))
        for point in course.evaluation_points(training.recipe.evaluations):
            if point <= self.evaluated:
                continue
            for loss in training.run_updates(point):
                self._after_update(loss, history)
            self._save(history)  # before anybody sees the line: what was seen is not made again, with other noise
            self.epsilon = training.epsilon_spent()
            line = {
                "update": training.state.update,
                "epsilon": self.epsilon,
                "train_loss": sum(self.losses) / len(self.losses) if self.losses else None,
                **evaluate(),
            }
            self.losses, self.evaluated = [], point
            history.append(line)
            self._save(history)  # again: where the newest checkpoint is damaged, the one before it has the line too
            self.clock.charge("evaluation")
            self.tell(TrialProgress("training", point, course.updates, line["train_loss"], self.epsilon, line))
            self.listeners.evaluated(line)
        training.ranks.dismiss()

    def _after_update(self, loss: float, history: History) -> None:
        update, updates = self.training.state.update, self.training.course.updates
        if math.isfinite(loss):  # an empty draw has no loss
            self.losses.append(loss)
        self.clock.charge("updates")
        self.tell(TrialProgress("training", update, updates, loss, self.epsilon))
        stop = self.should_stop is not None and self.should_stop()
        if stop or time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
            self._save(history)
        if stop and update < updates:
            raise Stopped.after(update, updates, self.folder)

    def _save(self, history: History) -> None:
        header = {
            "recipe": self.training.recipe.fingerprint,
            "history_lines": history.lines,
            "evaluated": self.evaluated,
            "losses": self.losses,
            "physical_batch": self.training.physical_batch,
            "seconds": self.clock.seconds,
            **terms_of(self.training, self.folder),
        }
        checkpoints.save(self.folder, self.training.state.to_checkpoint(header))
        self.clock.charge("checkpoints")
        self.saved_at = time.monotonic()

    def release(self) -> dict[str, Any]:
        """Run the truth check; write the weights and what is known about the training before anything is measured.

        Then the checkpoints are removed, since they hold the state of the noise's generator.  Returns the content of
        ``trained.json``: the part of ``result.json`` that does not have to be measured.
        """
        training = self.training
        canaries = canary_record(training)
        privacy = privacy_record(training, self.folder, canaries)
        if wrong := why_not_private({"privacy": privacy}):
            self.notes.append(wrong)
        if privacy and privacy["epsilon"] is None:
            withdraw_epsilon(self.folder / HISTORY)
        weights = {n: t.detach().cpu().contiguous().clone() for n, t in training.state.evaluation_weights().items()}
        with written(self.folder / WEIGHTS) as part:
            part.write_bytes(serialized(weights, metadata_of(training, privacy, canaries, weights)))
        self.clock.charge("files")
        trained = {
            "privacy": privacy,
            "canaries": canaries,
            "course": course_record(training),
            "seconds": dict(self.clock.seconds),
            "notes": self.notes,
        }
        trained = write_sealed(self.folder / TRAINED, trained, SEALED[:-1])
        checkpoints.remove(self.folder)
        return trained

    def load_weights(self) -> dict[str, Any]:
        """Load the weights of a run that was trained and not measured, in place of making updates.

        Raises:
          InputError: a file cannot be read.
        """
        training, trained = self.training, check(self.folder / TRAINED)
        if not {"privacy", "course", "seconds", "notes"} <= set(trained):
            raise InputError(f"{self.folder / TRAINED} is not whole: {PUT_BACK}")
        try:
            training.state.model.load_state_dict(read_weights(self.folder / WEIGHTS)[1])
        except RuntimeError as error:
            raise InputError(f"{WEIGHTS} does not fit the network ({one_line(error)}): {PUT_BACK}") from error
        training.state.average = {}
        training.state.update = training.course.updates
        training.physical_batch = int(trained["course"]["physical_batch"])
        self.notes = list(trained["notes"])
        self.clock.add(trained["seconds"])
        checkpoints.remove(self.folder)  # where the run ended between the two
        self.clock.charge("start")
        return trained

    def measure(self, trained: dict[str, Any]) -> Run:
        """Attack and measure the released weights; write ``signals.parquet`` and ``result.json``.

        Args:
          trained: as :meth:`release` returned it.
        """
        training, data, recipe = self.training, self.training.data, self.training.recipe
        privacy, updates = trained["privacy"], training.course.updates
        epsilon = None if privacy is None else privacy["epsilon"]

        def named(what: str) -> None:
            self.tell(TrialProgress(what, updates, updates, None, epsilon))

        named("outputs of all examples")
        train_logits, test_logits = training.logits("train").numpy(), training.logits("test").numpy()
        self.clock.charge("evaluation")
        measured, audited = measure(data, train_logits, test_logits, recipe=recipe, tell=named)
        self.clock.charge("attacks and fairness")
        index = np.concatenate([np.arange(len(data.train)), np.arange(len(data.test))])
        write_signals(self.folder / SIGNALS, predictions_of(data, train_logits, test_logits), audited, index)
        self.clock.charge("files")
        not_for_release = why_not_for_release({"privacy": privacy})
        result = {
            **({"not_for_release": not_for_release} if not_for_release else {}),
            **measured,
            "privacy": privacy,
            **({"canaries": trained["canaries"]} if trained.get("canaries") else {}),
            "course": trained["course"],
            "seconds": {"total": sum(self.clock.seconds.values()), **self.clock.seconds},
            "environment": environment.describe(training.device, training.autocast, recipe.seed),
            "notes": self.notes,
            "data": {"notes": list(data.notes)},
        }
        write_card(self.folder, self.config, result)
        result = write_sealed(self.folder / RESULT, result, SEALED)
        with suppress(OSError):  # result.json holds all of it
            (self.folder / TRAINED).unlink()
        return Run(self.folder, recipe, result, (*data.notes, *self.notes))
