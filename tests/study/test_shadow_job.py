"""How long shadows are said to take before they are trained."""

import re
import time
from types import SimpleNamespace

import pytest

from trilemma.study import shadow_job
from trilemma.study.shadow_job import Estimate, estimated
from trilemma.training.execution import Execution


@pytest.fixture
def estimate(shadowed):
    def of(missing=4, workers=2, preparing=0.0):
        missing = list(range(100, 100 + missing))  # none of them is there
        return estimated(shadowed, missing, workers, Execution("cpu"), lambda *_: None, preparing=preparing)

    return of


def test_other_work_on_the_machine_is_told_apart_from_the_time_that_shadows_compute(estimate, monkeypatch):
    """Guards: seconds of the clock, taken while others shared the cores, were said to be those of a free machine."""
    free = estimate()
    # The clock runs ten times as fast as before: the process has a tenth of a core.
    slow = SimpleNamespace(**{name: getattr(time, name) for name in ("monotonic", "process_time", "thread_time")})
    slow.perf_counter = lambda: 10 * time.perf_counter()
    monkeypatch.setattr(shadow_job, "time", slow)
    busy = estimate()
    assert busy.free < 3 * free.free  # another measurement of computing
    assert busy.now > 5 * busy.free
    assert re.fullmatch(r"about .* on free cores, .* on a machine as busy as now \(by .* updates\)", str(busy))


def test_every_shadow_and_what_a_process_needs_first_are_counted(estimate, shadowed):
    one, four = estimate(1, 1), estimate(4, 1)
    assert 2 < four.free / one.free < 8
    assert estimate(4, 4).free < four.free / 2
    prepared = estimate(4, 1, preparing=1000.0)
    assert 1000 < prepared.free < 1000 + 3 * four.free
    assert one.updates == shadowed.run.result["course"]["updates"]
    assert 0 < one.timed <= one.updates


def test_a_free_machine_has_one_number_and_says_what_it_rests_on():
    assert str(Estimate(28.0, 29.0, 300, 810)) == "about 28 s (by 300 of a shadow's 810 updates)"
