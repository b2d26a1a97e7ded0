"""The runner with a executor that only pretends: order, failures, retry, stopping."""

import json
import shutil
from collections import deque

import pytest

from trilemma.errors import InputError
from trilemma.study.file import load_study
from trilemma.study.folder import FORMAT, StudyFolder
from trilemma.study.pool import Event
from trilemma.study.runner import Settings, progress_of, run_study
from trilemma.study.trials import Study, expand


class PretendedExecutor:
    """Finishes at once what it is given, but for ids in ``failing``; remembers the order and how many ran at once."""

    def __init__(self, folder, size=2, failing=()):
        self.folder, self.size, self.failing = folder, size, set(failing)
        self.given, self.most, self.stopped, self.exposure = [], 0, False, set()
        self._under_way = deque()

    def submit(self, job):
        self.given.append(job.trial.id)
        self.exposure |= {job.trial.id} if job.exposure else set()
        self._under_way.append(job.trial.id)
        self.most = max(self.most, len(self._under_way))

    def events(self, seconds):
        if not self._under_way:
            return
        name = self._under_way.popleft()
        if name in self.failing:
            yield Event(name, "failed", {"reason": "out of luck", "trace": None})
            return
        run = self.folder.run(name)
        run.mkdir(parents=True)
        (run / "result.json").write_text("{}")
        if name in self.exposure:
            (run / "shadows.private").mkdir()
            (run / "shadows.private" / "exposure.npy").touch()
        yield Event(name, "done", {"seconds": 1.0})

    def stop(self):
        self.stopped = True


@pytest.fixture
def study():
    return expand(load_study("outliers")[0], seeds=1)


def start(tmp_path, study, **options):
    folder = StudyFolder(tmp_path)
    folder.add(study, "test")
    executor = PretendedExecutor(folder, **options)
    progress = progress_of(folder, study.trials)
    whole = run_study(folder, progress, executor, Settings())
    return folder, executor, progress, whole


def test_every_trial_is_given_once_in_order_and_never_more_than_the_executor_holds(tmp_path, study):
    _, executor, progress, whole = start(tmp_path, study)
    assert whole
    assert executor.stopped
    assert executor.given == [trial.id for trial in study.trials]
    assert executor.most == 2
    assert progress.done == set(executor.given)


def test_a_trial_waits_for_the_one_that_scores_it(tmp_path, study):
    reversed_study = Study(study.name, "", "", "", study.seeds, (), study.trials[::-1])
    _, executor, _, _ = start(tmp_path, reversed_study, size=3)
    for trial in study.trials:
        if trial.removal:
            assert executor.given.index(trial.removal.scored_by) < executor.given.index(trial.id)


def test_only_what_is_missing_is_run_again(tmp_path, study):
    folder, executor, _, _ = start(tmp_path, study)
    gone = study.trials[3].id
    shutil.rmtree(folder.run(gone))
    _, executor, progress, _ = start(tmp_path, study)
    assert executor.given == [gone]
    assert progress.done_before == len(study.trials) - 1


def test_a_failure_is_written_down_and_takes_those_that_need_it_along(tmp_path, study):
    scorer = study.trials[0]
    folder, executor, progress, whole = start(tmp_path, study, failing=[scorer.id])
    assert whole
    children = {t.id for t in study.trials if t.removal and t.removal.scored_by == scorer.id}
    assert children
    assert set(progress.failed) == {scorer.id} | children
    assert not children & set(executor.given)
    assert folder.reason(scorer.id) == "out of luck"
    assert "determines what to leave out, failed" in folder.reason(min(children))
    # Without retry they stay failed, with it they run.
    _, executor, progress, _ = start(tmp_path, study)
    assert executor.given == []
    assert set(progress.failed) == {scorer.id} | children
    folder.forget_failures(t.id for t in study.trials)
    _, executor, progress, _ = start(tmp_path, study)
    assert set(executor.given) == {scorer.id} | children
    assert not progress.failed


def test_a_failure_that_cannot_be_written_down_does_not_end_the_study(tmp_path, study, monkeypatch):
    def full(path, values):
        raise InputError("no space left on the device")

    monkeypatch.setattr("trilemma.study.runner.write_json", full)
    _, _, progress, whole = start(tmp_path, study, failing=[study.trials[-1].id])
    assert whole
    assert progress.failed[study.trials[-1].id] == "out of luck (and this could not be recorded)"


def test_being_asked_to_stop_stops_the_executor(tmp_path, study):
    folder = StudyFolder(tmp_path)
    folder.add(study, "test")
    executor = PretendedExecutor(folder)
    progress = progress_of(folder, study.trials)
    assert run_study(folder, progress, executor, should_stop=lambda: len(progress.done) >= 2) is False
    assert executor.stopped
    assert len(progress.done) == 2


def test_an_error_here_stops_the_executor_too(tmp_path, study):
    def broken(progress, event):
        raise RuntimeError

    folder = StudyFolder(tmp_path)
    executor = PretendedExecutor(folder)
    with pytest.raises(RuntimeError):
        run_study(folder, progress_of(folder, study.trials), executor, watch=broken)
    assert executor.stopped


def test_two_studies_in_one_folder_share_their_trials(tmp_path):
    first, second = (expand(load_study(name)[0], seeds=1) for name in ("techniques", "budget"))
    start(tmp_path, first)
    folder, executor, progress, _ = start(tmp_path, second)
    shared = {t.id for t in first.trials} & {t.id for t in second.trials}
    assert shared
    assert progress.done_before == len(shared)
    assert not shared & set(executor.given)
    values = folder.read()
    assert list(values["studies"]) == ["techniques", "budget"]
    assert set(values["trials"]) == {t.id for t in (*first.trials, *second.trials)}
    assert all(trial.id == name for name, trial in folder.trials().items())


def test_a_study_of_the_same_name_is_replaced(tmp_path, study):
    folder = StudyFolder(tmp_path)
    folder.add(study, "test")
    fewer = Study(study.name, "", "", "", study.seeds, (), study.trials[:1])
    values = folder.add(fewer, "test")
    assert list(values["trials"]) == [study.trials[0].id]


@pytest.mark.parametrize("text", ['{"format": 0}', "[]", '{"studies": {}}', "{"])
def test_another_format_is_refused(tmp_path, study, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(InputError) as caught:
        StudyFolder(tmp_path).add(study, "test")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "study.json").read_text() == text


def test_no_study_at_all(tmp_path):
    with pytest.raises(InputError, match="holds no study, run or audit: give the --out folder"):
        StudyFolder(tmp_path).read()


def test_infinite_budgets_are_written_as_json_knows_them(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[[grid]]\ndata = "digits"\nrecipe = "digits"\nepsilon = [inf, 8.0]\n')
    folder = StudyFolder(tmp_path / "out")
    folder.path.mkdir()
    folder.add(expand(load_study(path)[0]), "test")
    values = json.loads((tmp_path / "out" / "study.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert values["format"] == FORMAT
    assert values["studies"]["mine"]["file"]["grid"][0]["epsilon"] == ["inf", 8.0]


def test_a_trial_whose_exposure_is_needed_is_finished_when_shadows_have_measured_it(tmp_path, study):
    """This holds for a trial of a study that did not need it, too."""
    folder, executor, _, whole = start(tmp_path, study)
    assert whole
    removed = [trial for trial in study.trials if trial.removal]
    assert executor.exposure >= {trial.id for trial in removed} | {trial.removal.scored_by for trial in removed}
    unmeasured = removed[0].removal.scored_by
    (folder.run(unmeasured) / "shadows.private" / "exposure.npy").unlink()
    assert progress_of(folder, study.trials).waiting == [unmeasured]


def test_the_histogram_needs_no_shadows(tmp_path):
    _, executor, progress, _ = start(tmp_path, expand(load_study("outliers")[0], seeds=1, rank="histogram"))
    assert len(progress.done) == len(progress.trials)
    assert not executor.exposure
