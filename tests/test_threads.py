"""Parts run on all cores, in order, each with one torch thread, and all settings are restored afterward."""

import os
import threading
import time

import pytest
import torch

from trilemma.threads import in_threads, one_each, threads


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_results_come_in_order_from_other_threads_each_of_which_has_one_of_torchs():
    def look(part):
        time.sleep(0.01 * (part % 3))  # later parts are done first
        return part, torch.get_num_threads(), threads(), threading.get_ident()

    results = list(in_threads(look, range(20), 2))
    assert [part for part, *_ in results] == list(range(20))
    assert {(mine, apart) for _, mine, apart, _ in results} == {(1, 1)}
    assert threading.get_ident() not in {name for *_, name in results}
    assert len({name for *_, name in results}) == 2


def test_while_parts_are_computed_the_caller_has_one_thread_too():
    seen = [torch.get_num_threads() for _ in in_threads(lambda part: part, range(3), 2)]
    assert seen == [1, 1, 1]


def test_parts_are_taken_as_they_are_needed():
    taken = []

    def parts():
        for part in range(1000):
            taken.append(part)
            yield part

    results = in_threads(lambda part: part, parts(), 2)
    next(results)
    assert len(taken) < 20
    results.close()


def test_parts_within_a_part_are_computed_where_they_are():
    """A pool whose threads wait for each other's parts would never end."""

    def outer(part):
        inside = list(in_threads(lambda inner: (inner, threading.get_ident()), range(3), 2))
        assert {name for _, name in inside} == {threading.get_ident()}
        return part + sum(inner for inner, _ in inside)

    assert list(in_threads(outer, range(10), 2)) == [part + 3 for part in range(10)]


def test_an_error_in_a_part_is_the_callers_and_leaves_nothing_running():
    running = []

    def fails(part):
        running.append(part)
        if part == 1:
            raise ValueError("part 1")
        time.sleep(0.05)
        running.remove(part)

    with pytest.raises(ValueError, match="part 1"):
        list(in_threads(fails, range(8), 2))
    assert running == [1]
    assert list(in_threads(lambda part: part, range(3), 2)) == [0, 1, 2]


def test_one_each_within_one_each_changes_nothing():
    assert threads() == 2
    with one_each():
        assert (torch.get_num_threads(), threads()) == (1, 2)
        with one_each():
            assert (torch.get_num_threads(), threads()) == (1, 2)
        assert list(in_threads(lambda part: part, range(3), threads())) == [0, 1, 2]
        assert (torch.get_num_threads(), threads()) == (1, 2)
    assert threads() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    list(in_threads(lambda part: part, range(3), 2))
    child = os.fork()
    if child == 0:
        ok = list(in_threads(lambda part: part, range(3), 2)) == [0, 1, 2]
        os._exit(0 if ok else 1)
    end = time.monotonic() + 20
    status = 0
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child waited for threads that it does not have")
    assert os.waitstatus_to_exitcode(status) == 0
