"""Files are written whole or not at all, and one process holds a folder at a time."""

import json
import math
import os
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trilemma import files
from trilemma.errors import InputError
from trilemma.files import (
    alone_in,
    append_line,
    atomically,
    jsonable,
    make_folder,
    read_json,
    read_toml,
    write_json,
    written,
)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("no such value"), SystemExit()])
def test_an_error_on_the_way_leaves_what_was_there_and_nothing_else(tmp_path, error, shared):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def attempt():
        with atomically(path, shared=shared) as part:
            part.write_text("new but not wh")
            raise error

    with pytest.raises(type(error)):
        attempt()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    script = (
        "import sys, time, pathlib\nfrom trilemma.files import written\n"
        "with written(pathlib.Path(sys.argv[1])) as part:\n"
        "  part.write_text('new but not wh'); print('now', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    with written(path) as part:  # what it left is in nobody's way
        part.write_text("new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "new")]


def test_content_and_name_reach_the_disk_in_an_order_that_survives_a_power_cut(tmp_path, monkeypatch):
    """Guards: a name on the disk before its content, and a result that is reported before its name is on the disk."""
    events = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor):
        target = os.readlink(f"/proc/self/fd/{descriptor}")
        events.append(("sync", target))
        real_sync(descriptor)

    def replace(source, target):
        events.append(("replace", str(source)))
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write_json(tmp_path / "result.json", {"a": 1})
    part = str(tmp_path / "result.json.part")
    assert events == [("sync", part), ("replace", part), ("sync", str(tmp_path))]
    events.clear()
    append_line(tmp_path / "history.jsonl", "{}")
    assert events == [("sync", str(tmp_path / "history.jsonl"))]


def test_writers_of_one_file_do_not_meet(tmp_path):
    path, meet = tmp_path / "a.txt", threading.Barrier(4)

    def write(letter):
        with atomically(path, shared=True, durable=False) as part, part.open("w") as file:
            file.write(letter * 1000)
            meet.wait(30)
            file.write(letter * 1000)

    writers = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in [letter * 2000 for letter in "abcd"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_what_cannot_be_written_or_read_is_said_in_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    for attempt in (
        lambda: write_json(blocked / "a.json", {}),
        lambda: append_line(blocked / "a.jsonl", "{}"),
        lambda: make_folder(blocked),
        lambda: read_json(tmp_path / "config.json"),
        lambda: read_json(blocked),
        lambda: alone_in(blocked).__enter__(),
    ):
        with pytest.raises(InputError) as caught:
            attempt()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "whose"), [("study.json", "a study"), ("audit.json", "an audit"), ("x.json", "a run")]
)
def test_a_missing_file_is_told_from_a_missing_folder(tmp_path, name, whose):
    """Guards: "is it the folder of a run?" of the folder of a study that is not there."""
    with pytest.raises(InputError, match=f"holds no {name}: is it the folder of {whose}"):
        read_json(tmp_path / name)
    with pytest.raises(InputError, match=f"there is no folder .*nowhere: give that of {whose}"):
        read_json(tmp_path / "nowhere" / name)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes() | st.times(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from(["inf", None]))
def test_jsonable_values_are_read_back_as_they_are(value, infinity):
    plain = jsonable(value, infinity=infinity)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_jsonable_refuses_nothing_silently():
    assert jsonable({"a": (math.inf, -math.inf, math.nan, 1.5)}) == {"a": ["inf", "-inf", None, 1.5]}
    assert jsonable([math.inf, -math.inf], infinity=None) == [None, None]
    with pytest.raises(TypeError):
        json.dumps(jsonable({"a": object()}))


def test_one_process_holds_a_folder(tmp_path):
    script = (
        "import sys, pathlib\nfrom trilemma.files import alone_in\n"
        "with alone_in(pathlib.Path(sys.argv[1])):\n  print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is at work"), alone_in(tmp_path):
            pass
        told = []

        def waiting():
            told.append(other.poll())
            other.stdin.close()  # only now does the other end

        with alone_in(tmp_path, waiting=waiting):
            assert told == [None]
    with alone_in(tmp_path, waiting=lambda: told.append("again")):
        assert told == [None]


def test_folders_that_cannot_sync_are_no_error(tmp_path, monkeypatch):
    def unsupported(descriptor):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", unsupported)
    files.sync_folder(tmp_path)


@pytest.mark.parametrize(
    "line", ["a" + ".a" * 999 + " = 1", "x = {" + "a." * 1000 + "a = 1}", '"a b".' * 900 + "a = 1"]
)
def test_a_long_key_of_toml_is_refused(tmp_path, line):
    """Python's parser takes memory by the square of a key's parts: 120 kB of them took 17 GB."""
    (tmp_path / "x.toml").write_text(f"a = 1\n{line}\n")
    with pytest.raises(InputError, match="more than 200 dots"):
        read_toml(tmp_path / "x.toml", "the recipe")


def test_ordinary_toml_is_read(tmp_path):
    (tmp_path / "x.toml").write_text("a.b.c = [" + ", ".join(["0.5"] * 150) + "]\n")
    assert read_toml(tmp_path / "x.toml", "the recipe")["a"]["b"]["c"] == [0.5] * 150
