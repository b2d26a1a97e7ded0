"""A study on disk: its plan, the runs of its trials, and failures; every file is written whole or not at all.

study.json              the studies that share this folder, and all their trials
runs/ID/                what trial ID left (see trilemma.trial)
removed/ID.json         the examples that trial ID left out
examples/ID/INDEX.png   tracked examples
failures/ID.json        why trial ID failed
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trilemma.checksums import read_sealed
from trilemma.errors import InputError
from trilemma.files import jsonable, read_json, reading, write_json
from trilemma.study.trials import Study, Trial
from trilemma.titles import trial_titles
from trilemma.trial.card import retitle_card
from trilemma.trial.run import RESULT, STUDY, why_not_private

FORMAT = 1


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one or several studies.

    A trial is finished when its run has a result (and, with a budget, passed its truth check), and failed when its
    reason is in ``failures``; everything else is still to be done.
    """

    path: Path

    @property
    def study_file(self) -> Path:
        """The path of ``study.json``."""
        return self.path / STUDY

    def run(self, trial_id: str) -> Path:
        """The folder of a trial's run."""
        return self.path / "runs" / trial_id

    def removed(self, trial_id: str) -> Path:
        """The file with the indices of the examples that a trial leaves out."""
        return self.path / "removed" / f"{trial_id}.json"

    def examples(self, trial_id: str) -> Path:
        """The folder with the images that a trial tracks."""
        return self.path / "examples" / trial_id

    def failure(self, trial_id: str) -> Path:
        """The file that says why a trial failed."""
        return self.path / "failures" / f"{trial_id}.json"

    def finished(self, trial_id: str) -> bool:
        """Whether a trial has a result and, with a budget, a claim that stands: neither its truth check nor canaries
        deny it."""
        return (self.run(trial_id) / RESULT).is_file() and self._not_private(trial_id) is None

    def _not_private(self, trial_id: str) -> str | None:
        path = self.run(trial_id) / RESULT
        with reading(path):
            if not path.is_file():
                return None
            result = read_sealed(path)
            return why_not_private(result)

    def data_notes(self, trial_ids: Iterable[str]) -> list[str]:
        """What finished trials say of their data, each sentence once."""
        results = (read_sealed(self.run(name) / RESULT) for name in trial_ids if self.finished(name))
        return list(dict.fromkeys(note for result in results for note in result.get("data", {}).get("notes", ())))

    def reason(self, trial_id: str) -> str | None:
        """Why the trial failed, in one line, or None if it did not."""
        path = self.failure(trial_id)
        if self.finished(trial_id):
            return None
        with reading(path):
            return str(read_json(path)["reason"]) if path.is_file() else self._not_private(trial_id)

    def read(self) -> dict[str, Any]:
        """``study.json``.

        Raises:
          InputError: there is none, it cannot be read, or it is of another format.
        """
        if not self.study_file.is_file():
            raise InputError(
                f"{self.path} holds no study, run or audit: give the --out folder of trilemma study, train or audit"
            )
        values = read_json(self.study_file)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            form = values.get("format") if isinstance(values, dict) else None
            raise InputError(
                f"{self.study_file} has format {form}, this version reads {FORMAT}: run the study again in another "
                "--out, or use the version that wrote it"
            )
        with reading(self.study_file):
            _check(values)
        return values

    def trials(self) -> dict[str, Trial]:
        """All trials of all studies here, by id."""
        stored = self.read()["trials"]
        with reading(self.study_file):
            return {name: Trial.from_dict(values) for name, values in stored.items()}

    def add(self, study: Study, version: str, *, command: str = "") -> dict[str, Any]:
        """Write ``study`` into ``study.json``, beside other studies; one of the same name is replaced.

        Args:
          study: with its trials.
          version: of the program.
          command: the command line that runs it, with ``--out DIR``; "" if there was none.

        Returns:
          The new ``study.json``.
        """
        values: dict[str, Any] = {"format": FORMAT, "version": version, "studies": {}, "trials": {}}
        if self.study_file.exists():
            values = self.read() | {"version": version}
        before = trial_titles(values["trials"])
        values["studies"][study.name] = {
            "title": study.title,
            "about": study.about,
            "scale": study.scale,
            "seeds": list(study.seeds),
            "figures": list(study.figures),
            "trials": [trial.id for trial in study.trials],
            "by_budget": [{key: list(values) for key, values in recipe.items()} for recipe in study.by_budget],
            "file": jsonable(study.file),
            "command": command,
        }
        values["trials"] |= {trial.id: trial.to_dict() for trial in study.trials}
        wanted = {name for entry in values["studies"].values() for name in entry["trials"]}
        values["trials"] = {name: trial for name, trial in values["trials"].items() if name in wanted}
        write_json(self.study_file, values)
        for name, title in trial_titles(values["trials"]).items():
            if name in before and before[name] != title:  # another study's trials need more words to be told apart
                retitle_card(self.run(name), before[name], title)
        return values

    def forget_failures(self, trial_ids: Iterable[str]) -> None:
        """Forget these failures, so that the trials run again; one that failed its truth check is retrained."""
        for name in trial_ids:
            self.failure(name).unlink(missing_ok=True)
            if self._not_private(name) is not None:
                (self.run(name) / RESULT).unlink()


_STUDY_KEYS = {"title": str, "about": str, "scale": str, "seeds": list, "figures": list, "trials": list}


def _check(values: dict[str, Any]) -> None:
    """Refuse a ``study.json`` whose parts are of other kinds than :meth:`StudyFolder.add` writes.

    Raises:
      ValueError, KeyError, TypeError: they are.
    """
    trials = values["trials"]
    for name, study in values["studies"].items():
        for key, kind in _STUDY_KEYS.items():
            if not isinstance(study[key], kind):
                raise TypeError(f"{key} of the study {name} is {study[key]!r}")
        if unknown := [trial for trial in study["trials"] if trial not in trials]:
            raise ValueError(f"the study {name} names the trial {unknown[0]!r}, which is not there")
        if not all(isinstance(figure, str) for figure in study["figures"]):
            raise TypeError(f"figures of the study {name} are {study['figures']!r}")
        for recipe in study.get("by_budget", ()):
            if not isinstance(recipe, dict) or not all(
                isinstance(values, list) and len(values) == 2 for values in recipe.values()
            ):
                raise TypeError(f"by_budget of the study {name} is {recipe!r}")
    str(values["version"])
