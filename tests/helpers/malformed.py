"""Malformed inputs of every command, generated from a seed, and what each must end with.

A case is a valid input in which the content of one file is replaced: cut short, flipped, overwritten, of other types,
shapes and values, with fields that are missing, there twice or of absurd size.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import signal
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

TIME_LIMIT = 20.0
"""Seconds of processor time after which a case is stopped: a guard against hanging, not a measure of speed."""
WAITING = 30
"""So many times as long a case may take by the clock, on a machine that does other things too."""
MOST_LINES = 5

RECIPE = {
    "model": "convnet-4",
    "batch_size": 4,
    "epochs": 1.0,
    "evaluations": 1,
    "fewest_updates": 1,
    "norm_groups": 2,
}


@dataclass(frozen=True)
class Malformed:
    """One file of a valid input, replaced.

    Attributes:
      kind: of file and damage, in words.
      command: arguments of ``trilemma`` without ``--out``.
      path: the file.
      content: what it holds in place of what is valid.
      certain: whether it cannot be valid any more; flipped bits, for one, might lie where nothing reads.
      mentions: parts of names, one of which the refusal must have: of the file, or of what holds it.
      out: where ``--out`` leads in place of a new folder; what lies there must stay as it is.
    """

    kind: str
    command: tuple[str, ...]
    path: Path
    content: bytes
    certain: bool
    mentions: tuple[str, ...]
    out: Path | None = None


@dataclass(frozen=True)
class Ending:
    """How a command ended: exit status (None: an exception came out), its messages, and seconds of processor time."""

    status: int | None
    said: str
    seconds: float


class Hangs(BaseException):
    """A command took longer than it may."""


def run(command: tuple[str, ...], out: Path, limit: float = TIME_LIMIT) -> Ending:
    """The command with ``--out``, in this process, for at most ``limit`` seconds of processor time."""
    from trilemma.cli.main import main

    def stop(number: int, frame: FrameType | None) -> None:
        raise Hangs

    printed = io.StringIO()
    timers = {signal.ITIMER_PROF: (signal.SIGPROF, limit), signal.ITIMER_REAL: (signal.SIGALRM, WAITING * limit)}
    before = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds)
    began = time.process_time()
    status: int | None
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(printed):
            status = main([*command, "--out", str(out)])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else None
    except BaseException:
        status = None
        printed.write(traceback.format_exc())
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ending(status, printed.getvalue(), time.process_time() - began)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    if not folder.is_dir():
        return {}
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def complaints(case: Malformed, out: Path) -> tuple[Ending, list[str]]:
    """How the command takes the case, and what is wrong with that; the valid file is put back afterward."""
    out = out if case.out is None else case.out
    valid = case.path.read_bytes()
    case.path.write_bytes(case.content)
    try:
        before = contents(out)
        ending = run(case.command, out)
        after = contents(out)
    finally:
        case.path.write_bytes(valid)
    wrong = []
    if ending.status is None or "Traceback" in ending.said:
        wrong.append(f"ended with an exception: {ending.said[-1500:]}")
    elif ending.status not in ((2,) if case.certain else (0, 2, 130)):
        wrong.append(f"ended with status {ending.status}: {ending.said[-300:]}")
    if ending.status == 2:
        lines = ending.said.strip().splitlines()
        if not 1 <= len(lines) <= MOST_LINES or max(map(len, lines)) > 1500:
            wrong.append(f"says {len(lines)} lines: {ending.said[:600]}")
        if not any(name in ending.said for name in case.mentions):
            wrong.append(f"does not name {' or '.join(case.mentions)}: {ending.said[:300]}")
        if changed := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
            wrong.append(f"changed {changed[:3]} in --out")
        if case.out is None and out.exists():
            wrong.append("left a folder at --out")
    if case.out is None and out.is_dir():
        shutil.rmtree(out)
    return ending, [f"{case.kind}: {text}" for text in wrong]


# --- valid inputs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Valid:
    """Folders of valid inputs; a study's folder where there is one, else no cases of it are made."""

    root: Path
    study: Path | None = None

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.toml"


def png(rng: np.random.Generator, channels: int = 0) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    shape = (8, 8, channels) if channels else (8, 8)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def make_valid(root: Path, study: Path | None = None) -> Valid:
    """Write one valid input of every kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    valid = Valid(root, study)
    root.mkdir(parents=True, exist_ok=True)
    valid.recipe.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in RECIPE.items()))
    np.savez(root / "arrays.npz", **data_arrays(rng))
    np.savez(root / "predictions.npz", **prediction_arrays(rng))
    for split, count in (("train", 30), ("test", 20)):
        rows = []
        for number in range(count):
            place = root / "classes" / split / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.png").write_bytes(png(rng))
            place = root / "listed" / split
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{number}.png").write_bytes(png(rng))
            rows.append(
                {"file_name": f"{split}/{number}.png", "label": "ab"[number % 2], "group": "xy"[number // 2 % 2]}
            )
        shutil.copytree(root / "listed" / split, root / "lines" / split)
        with (root / "listed" / "metadata.csv").open("a") as file:
            file.write("" if split == "test" else "file_name,label,group\n")
            file.writelines(",".join(row.values()) + "\n" for row in rows)
        with (root / "lines" / "metadata.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        (root / "tables").mkdir(exist_ok=True)
        pq.write_table(pa.table(table_columns(rng, count)), root / "tables" / f"{split}-00000-of-00001.parquet")
    pq.write_table(pa.table(table_columns(rng, 100)), root / "table.parquet")
    folder = root / "archive" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (10, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(10)
        records.tofile(folder / name)
    (root / "study.toml").write_text(
        'title = "Tiny"\nabout = "For tests."\nfigures = ["accuracy"]\nseeds = 1\n\n[[grid]]\n'
        'data = {name = "digits", limit = 100, test_limit = 50}\ntechniques = "none"\nepsilon = ["none"]\n'
        'recipe = "recipe.toml"\n'
    )
    (root / "file").write_text("in the way")  # a study that is well planned cannot make its folder, and so never trains
    ending = run(
        ("train", "--data", "digits", "--limit", "100", "--test-limit", "50", *_small(valid)), root / "run", limit=600
    )
    assert ending.status == 0, ending.said
    return valid


def data_arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A small data set as arrays."""
    return {
        "images": rng.integers(0, 256, (30, 8, 8), dtype=np.uint8),
        "labels": np.arange(30) % 2,
        "groups": np.arange(30) // 2 % 2,
        "split": np.repeat(["train", "test"], [20, 10]),
        "classes": np.array(["cat", "dog"]),
    }


def prediction_arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Predictions for an audit."""
    return {
        "logits": rng.normal(size=(80, 3)),
        "labels": np.arange(80) % 3,
        "member": np.arange(80) < 40,
        "group": np.arange(80) % 2,
    }


def table_columns(rng: np.random.Generator, count: int) -> dict[str, Any]:
    """Columns of a Parquet file."""
    return {
        "image": [{"bytes": png(rng), "path": None} for _ in range(count)],
        "label": [number % 2 for number in range(count)],
        "group": ["xy"[number // 2 % 2] for number in range(count)],
    }


def _small(valid: Valid) -> tuple[str, ...]:
    return ("--recipe", str(valid.recipe), "--device", "cpu")


# --- damage to bytes --------------------------------------------------------------------------------------------------


def damaged(content: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A content that disks and transfers make, and what it is."""
    size = len(content)
    place = rng.randrange(size + 1)
    length = rng.choice((1, 4, 16, 64, 256))
    noise = rng.randbytes(length)
    flipped = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        where = rng.randrange(size)
        flipped[where] ^= 1 << rng.randrange(8)
    choices: dict[str, Callable[[], bytes]] = {
        "cut": lambda: content[:place],
        "flipped": lambda: bytes(flipped),
        "overwritten": lambda: content[:place] + noise + content[place + length :],
        "zeroed": lambda: content[:place] + bytes(length) + content[place + length :],
        "inserted": lambda: content[:place] + noise + content[place:],
        "missing": lambda: content[:place] + content[place + length :],
        "halves exchanged": lambda: content[place:] + content[:place],
        "doubled": lambda: content + content,
        "noise": lambda: rng.randbytes(size),
        "empty": lambda: b"",
        "text": lambda: b"<html>404 not found</html>\n",
        "numbers blown up": lambda: content[:place] + b"\xff" * min(8, size - place) + content[place + 8 :],
    }
    name = rng.choice(list(choices))
    return name, choices[name]()


# --- damage to values -------------------------------------------------------------------------------------------------

JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1e300, 2**70, "", "junk", "\x1b[31m", "x" * 5000, [], [1, [2]], {}, {"a": 1}, float("nan"),
)  # fmt: skip


def junked(values: Any, rng: random.Random) -> tuple[str, Any]:
    """A JSON value in which a node is replaced or taken away, and the path of the node."""
    paths: list[tuple[Any, ...]] = [()]

    def walk(node: Any, path: tuple[Any, ...]) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            paths.append((*path, key))
            walk(value, (*path, key))

    walk(values, ())
    short = [path for path in paths if len(path) < 4]
    path = rng.choice(short if rng.random() < 0.7 else paths)
    new = rng.choice(JUNK)
    if not path:
        return "the whole", new
    copy = json.loads(json.dumps(values))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    if rng.random() < 0.3:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return ".".join(map(str, path)), copy


def toml_junk(rng: random.Random) -> str:
    """A value as TOML writes it."""
    return rng.choice(
        ("true", "-1", "0", "0.5", "1e300", str(2**62), '""', '"junk"', "[]", "[[1]]", "{}", "{a = 1}", "nan", "inf",
         "1979-05-27", '["none", -1]', f'"{"x" * 3000}"', "99999999999999999999999", "-0.0", "")
    )  # fmt: skip


def npz(arrays: dict[str, Any]) -> bytes:
    """An .npz; values that are bytes are members as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in arrays.items():
            if isinstance(value, bytes):
                archive.writestr(f"{name}.npy", value)
            else:
                member = io.BytesIO()
                np.save(member, value, allow_pickle=True)
                archive.writestr(f"{name}.npy", member.getvalue())
    return stream.getvalue()


def npy_header(text: str, version: bytes = b"\x01\x00", data: bytes = bytes(64)) -> bytes:
    """An .npy file with a header of one's own."""
    header = text.encode() + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2 if version[0] == 1 else 4, "little") + header + data


HEADERS = (
    "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (2.5,)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': 5}",
    "{'descr': '|u1', 'fortran_order': 1, 'shape': (64,)}",
    "{'descr': '|u1', 'shape': (64,)}",
    "{'descr': 'nonsense', 'fortran_order': False, 'shape': (64,)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (8,)}",
    "{'descr': [('a', '<i4'), ('b', '<i4')], 'fortran_order': False, 'shape': (8,)}",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (8,)}",
    "{'descr': '|V8', 'fortran_order': False, 'shape': (8,)}",
    "{'descr': '<c16', 'fortran_order': False, 'shape': (4,)}",
    "__import__('os').system('true')",
    "[" * 50,
    "{" * 50,
    "",
    "(" + "1," * 4000 + ")",
)


def bad_data_arrays(seed: int = 0) -> list[tuple[str, Callable[[], Any]]]:
    """Names of arrays of a data set, and values that they cannot have."""
    arrays = data_arrays(np.random.default_rng(seed))
    images, labels = arrays["images"], arrays["labels"]
    return [
        ("images", lambda: images / 255),
        ("images", lambda: np.where(images > 0, np.nan, 1.0)),
        ("images", lambda: images.astype(np.int64) - 300),
        ("images", lambda: images.astype(np.uint16) * 257),
        ("images", lambda: images.reshape(-1)),
        ("images", lambda: images[:, 0]),
        ("images", lambda: images[..., None, None]),
        ("images", lambda: images[:0]),
        ("images", lambda: images[:17]),
        ("images", lambda: images[:, :5]),
        ("images", lambda: np.uint8(3)),
        ("images", lambda: images.astype(str)),
        ("images", lambda: images.astype(complex)),
        ("images", lambda: images.astype(object)),
        ("labels", lambda: labels - 1),
        ("labels", lambda: labels + 0.5),
        ("labels", lambda: np.where(labels, np.nan, 0)),
        ("labels", lambda: np.where(labels, np.inf, 0)),
        ("labels", lambda: labels[:-3]),
        ("labels", lambda: np.stack([labels] * 3, axis=1)),
        ("labels", lambda: labels * 0),
        ("labels", lambda: labels + 5),
        ("labels", lambda: np.array(["", "x"])[labels]),
        ("labels", lambda: np.array([b"\xff", b"x"])[labels]),
        ("labels", lambda: np.full(30, 2**64 - 1, dtype=np.uint64)),
        ("labels", lambda: labels.astype("datetime64[s]")),
        ("labels", lambda: labels.astype(complex) * 1j),
        ("labels", lambda: np.array([{"a": 1}] * 30, dtype=object)),
        ("groups", lambda: labels[:4]),
        ("groups", lambda: labels * 0),
        ("groups", lambda: labels - 4),
        ("split", lambda: np.array(["train", "later"])[labels]),
        ("split", lambda: labels + 3),
        ("split", lambda: np.repeat("test", 30)),
        ("split", lambda: np.repeat("train", 5)),
        ("classes", lambda: np.array(["cat", "cat"])),
        ("classes", lambda: np.array(["cat", ""])),
        ("classes", lambda: np.array(["cat"])),
        ("classes", lambda: np.array([b"\xff", b"cat"])),
    ]


def bad_prediction_arrays(seed: int = 0) -> list[tuple[str, Callable[[], Any]]]:
    """Names of arrays of predictions, and values that they cannot have."""
    arrays = prediction_arrays(np.random.default_rng(seed))
    logits, labels, member = arrays["logits"], arrays["labels"], arrays["member"]
    return [
        ("logits", lambda: np.where(logits > 0, np.nan, logits)),
        ("logits", lambda: np.where(logits > 0, np.inf, logits)),
        ("logits", lambda: logits[:, :1]),
        ("logits", lambda: logits[:, 0]),
        ("logits", lambda: logits[None]),
        ("logits", lambda: logits[:70]),
        ("logits", lambda: logits.astype(complex)),
        ("logits", lambda: logits.astype(str)),
        ("logits", lambda: logits.astype(object)),
        ("labels", lambda: labels - 1),
        ("labels", lambda: labels + 1),
        ("labels", lambda: labels + 0.5),
        ("labels", lambda: labels[:70]),
        ("labels", lambda: np.full(80, np.nan)),
        ("labels", lambda: np.array(["a"] * 80)),
        ("member", lambda: member.astype(int) * 2),
        ("member", lambda: np.ones(80, dtype=bool)),
        ("member", lambda: np.arange(80) < 3),
        ("member", lambda: np.array(["yes", "no"] * 40)),
        ("group", lambda: labels[:70]),
        ("group", lambda: labels - 3),
        ("group", lambda: labels + 0.5),
        ("weights", lambda: -np.ones(80)),
        ("weights", lambda: np.full(80, np.nan)),
        ("weights", lambda: np.zeros(80)),
        ("sources", lambda: np.zeros(3)),
    ]


def _bad_array(choices: list[tuple[str, Callable[[], Any]]], rng: random.Random) -> tuple[str, Any]:
    """One of them, or one of the same names with a header that cannot be."""
    name, make = rng.choice(choices)
    return name, npy_header(rng.choice(HEADERS)) if rng.random() < 0.2 else make()


def bad_columns(seed: int = 0) -> list[tuple[str, Callable[[], Any]]]:
    """Names of columns of a Parquet file, and what they cannot hold; None takes the column away."""
    import pyarrow as pa

    generator, rng = np.random.default_rng(seed), random.Random(seed)
    columns = table_columns(generator, 20)
    images, labels = columns["image"], columns["label"]
    return [
        ("image", lambda: labels),
        ("image", lambda: ["x.png"] * 20),
        ("image", lambda: [[1, 2]] * 20),
        ("image", lambda: [None] * 20),
        ("image", lambda: [*images[:-1], None]),
        ("image", lambda: [{"bytes": None, "path": "/etc/passwd"}] * 20),
        ("image", lambda: [{"path": "../x.png"}] * 20),
        ("image", lambda: [*images[:-1], {"bytes": b"", "path": None}]),
        ("image", lambda: [*images[:-1], {"bytes": rng.randbytes(50), "path": "x"}]),
        ("image", lambda: [*images[:-1], {"bytes": images[0]["bytes"][: rng.randrange(60)], "path": "x"}]),
        ("image", lambda: [*images[:-1], {"bytes": png(generator, 3)[:-60], "path": "x"}]),
        ("label", lambda: [None, *labels[1:]]),
        ("label", lambda: [0.5, *labels[1:]]),
        ("label", lambda: [float("nan"), *labels[1:]]),
        ("label", lambda: [-1, *labels[1:]]),
        ("label", lambda: [[number] for number in labels]),
        ("label", lambda: [{"a": number} for number in labels]),
        ("label", lambda: [b"\xff", b"a"] * 10),
        ("label", lambda: ["", "a"] * 10),
        ("label", lambda: [0] * 20),
        ("label", lambda: pa.array([0, 1] * 10, pa.timestamp("s"))),
        ("label", lambda: pa.array([0, 1] * 10, pa.date32())),
        ("label", lambda: pa.nulls(20)),
        ("group", lambda: [None, *"xy" * 9, "x"]),
        ("group", lambda: ["x"] * 20),
        ("group", lambda: [0.25] * 20),
        ("split", lambda: ["train", "later"] * 10),
        ("split", lambda: [2] * 20),
        ("split", lambda: ["test"] * 20),
        ("label", lambda: None),
        ("image", lambda: None),
    ]


def table_with(name: str, values: Any) -> bytes:
    """A Parquet file with one column replaced."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = table_columns(np.random.default_rng(0), 20) | {name: values}
    stream = io.BytesIO()
    pq.write_table(pa.table({key: value for key, value in columns.items() if value is not None}), stream)
    return stream.getvalue()


def _bad_table(rng: random.Random) -> tuple[str, bytes]:
    name, make = rng.choice(bad_columns(rng.randrange(2**32)))
    return f"column {name}", table_with(name, make())


def bad_csv(valid: bytes, rng: random.Random) -> bytes:
    """A metadata.csv with one cell that cannot be."""
    lines = [line.split(",") for line in valid.decode().splitlines()]
    row = rng.randrange(len(lines))
    column = rng.randrange(3 if row else 2)  # a third column of another name is no error: the file has no groups then
    if row and column:
        lines[row][column] = rng.choice(("", " ", "\x00", '"', 'a"b', ",,,,"))
    else:
        lines[row][column] = rng.choice(
            ("", "../x.png", "/etc/passwd", "C:\\x", "train", "no.png", '"', "a\x00b", "x" * 9000)
        )
    return "\n".join(",".join(line) for line in lines).encode()


# --- cases ------------------------------------------------------------------------------------------------------------


def cases(valid: Valid, count: int, seed: int) -> Iterator[Malformed]:
    """``count`` of them, of all kinds in turn."""
    rng = random.Random(seed)
    makers = [
        _arrays,
        _image,
        _csv,
        _lines,
        _table,
        _tables,
        _archive,
        _recipe,
        _study,
        _predictions,
        _audited,
        _resumed,
    ]
    if valid.study is not None:
        makers.append(_reported)
    for number in range(count):
        yield makers[number % len(makers)](valid, rng)


def _train(valid: Valid, data: str, *more: str) -> tuple[str, ...]:
    # what turns out to be valid ends before its first update
    return ("train", "--data", data, *more, *_small(valid), "--minutes", "1e-9")


def _bytes_or(
    kind: str,
    command: tuple[str, ...],
    path: Path,
    rng: random.Random,
    other: Callable[[], tuple[str, bytes]],
    *mentions: str,
) -> Malformed:
    """Half of the cases are damaged bytes, half have values that cannot be."""
    if rng.random() < 0.5:
        what, content = damaged(path.read_bytes(), rng)
        return Malformed(f"{kind}, {what}", command, path, content, False, (path.name, *mentions))
    what, content = other()
    return Malformed(f"{kind}, {what}", command, path, content, True, (path.name, *mentions))


def _arrays(valid: Valid, rng: random.Random) -> Malformed:
    def other() -> tuple[str, bytes]:
        name, value = _bad_array(bad_data_arrays(rng.randrange(2**32)), rng)
        return f"array {name}", npz(data_arrays(np.random.default_rng(0)) | {name: value})

    path = valid.root / "arrays.npz"
    return _bytes_or("arrays", _train(valid, str(path)), path, rng, other)


def _image(valid: Valid, rng: random.Random) -> Malformed:
    folder = valid.root / "classes"
    path = rng.choice(sorted(folder.rglob("*.png")))
    what, content = damaged(path.read_bytes(), rng)
    return Malformed(
        f"an image, {what}", _train(valid, str(folder)), path, content, what in ("empty", "text"), (path.name,)
    )


def _csv(valid: Valid, rng: random.Random) -> Malformed:
    path = valid.root / "listed" / "metadata.csv"
    return _bytes_or(
        "metadata.csv", _train(valid, str(path.parent)), path, rng, lambda: ("a cell", bad_csv(path.read_bytes(), rng)),
        str(path.parent),
    )  # fmt: skip


def _lines(valid: Valid, rng: random.Random) -> Malformed:
    path = valid.root / "lines" / "metadata.jsonl"
    lines = path.read_text().splitlines()
    row = rng.randrange(len(lines))
    where, value = junked(json.loads(lines[row]), rng)
    lines[row] = json.dumps(value)
    content = "\n".join(lines).encode()
    return Malformed(
        f"metadata.jsonl, {where}", _train(valid, str(path.parent)), path, content, False, (path.name, path.parent.name)
    )


def _table(valid: Valid, rng: random.Random) -> Malformed:
    path = valid.root / "table.parquet"
    return _bytes_or("a Parquet file", _train(valid, str(path)), path, rng, lambda: _bad_table(rng))


def _tables(valid: Valid, rng: random.Random) -> Malformed:
    folder = valid.root / "tables"
    path = rng.choice(sorted(folder.iterdir()))
    return _bytes_or(
        "a folder of Parquet files", _train(valid, str(folder)), path, rng, lambda: _bad_table(rng), folder.name
    )


def _archive(valid: Valid, rng: random.Random) -> Malformed:
    folder = valid.root / "archive"
    path = rng.choice(sorted(folder.rglob("*.bin")))
    what, content = damaged(path.read_bytes(), rng)
    command = _train(valid, "cifar10", "--data-dir", str(folder))
    return Malformed(
        f"a CIFAR archive, {what}", command, path, content, what == "empty", (path.name, "cifar-10-batches-bin")
    )


def _toml(path: Path, keys: list[str], rng: random.Random) -> tuple[str, bytes]:
    if rng.random() < 0.3:
        return damaged(path.read_bytes(), rng)
    key, value = rng.choice(keys), toml_junk(rng)
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key} =")]
    place = next((number for number, line in enumerate(lines) if line.startswith("[[")), len(lines))
    place = rng.choice((place, len(lines)))
    return f"{key} = {value[:20]}", "\n".join([*lines[:place], f"{key} = {value}", *lines[place:]]).encode()


def _recipe(valid: Valid, rng: random.Random) -> Malformed:
    from dataclasses import fields

    from trilemma.training.recipe import Recipe

    keys = [f.name for f in fields(Recipe)] + ["data", "with_budget", "without_budget", "unknown", "of"]
    what, content = _toml(valid.recipe, keys, rng)
    command = ("train", "--data", "digits", "--limit", "100", "--test-limit", "50", *_small(valid), "--minutes", "1e-9")
    return Malformed(
        f"a recipe, {what}", command, valid.recipe, content, False, (valid.recipe.name, what.split(" =")[0])
    )


def _study(valid: Valid, rng: random.Random) -> Malformed:
    path = valid.root / "study.toml"
    words = "title about figures seeds parts scale grid data techniques epsilon delta recipe removal track set scales"
    keys = [*words.split(), "own_data", "unknown"]
    what, content = _toml(path, keys, rng)
    mentions = ("study", what.split(" =")[0], "in the way", str(valid.root / "file"))
    out = valid.root / "file" / "out"
    return Malformed(f"a study, {what}", ("study", str(path)), path, content, False, mentions, out)


def _predictions(valid: Valid, rng: random.Random) -> Malformed:
    def other() -> tuple[str, bytes]:
        name, value = _bad_array(bad_prediction_arrays(rng.randrange(2**32)), rng)
        return f"array {name}", npz(prediction_arrays(np.random.default_rng(0)) | {name: value})

    path = valid.root / "predictions.npz"
    return _bytes_or(
        "predictions", ("audit", str(path), "--resamples", "100", "--attacks", "threshold"), path, rng, other
    )


def _json(kind: str, command: tuple[str, ...], path: Path, rng: random.Random) -> Malformed:
    if rng.random() < 0.4:
        what, content = damaged(path.read_bytes(), rng)
    else:
        what, value = junked(json.loads(path.read_text("utf-8")), rng)
        content = json.dumps(value).encode()
    return Malformed(f"{kind} {path.name}, {what}", command, path, content, False, (path.name, path.parent.name))


def _audited(valid: Valid, rng: random.Random) -> Malformed:
    run = valid.root / "run"
    command = ("audit", str(run), "--resamples", "100", "--attacks", "threshold")
    if rng.random() < 0.5:
        path = run / "signals.parquet"
        what, content = damaged(path.read_bytes(), rng)
        return Malformed(f"audit of a run, {path.name}, {what}", command, path, content, False, (path.name,))
    return _json("audit of a run,", command, run / "config.json", rng)


def _resumed(valid: Valid, rng: random.Random) -> Malformed:
    """Run the same command on its own finished run: --out is that run, so nothing may be left beside it."""
    run = valid.root / "run"
    path = run / rng.choice(("config.json", "fingerprint.private.json", "result.json"))
    command = ("train", "--data", "digits", "--limit", "100", "--test-limit", "50", *_small(valid))
    return replace(_json("the same run again,", command, path, rng), out=run)


def _reported(valid: Valid, rng: random.Random) -> Malformed:
    assert valid.study is not None
    command = ("report", str(valid.study))
    files = [valid.study / "study.json"] * 3
    for name in ("config.json", "result.json", "signals.parquet", "history.jsonl"):
        files += sorted(valid.study.glob(f"runs/*/{name}"))[:2]
    files += sorted(valid.study.glob("removed/*.json"))[:2]
    path = rng.choice(files)
    if path.suffix == ".json":
        return _json("report,", command, path, rng)
    what, content = damaged(path.read_bytes(), rng)
    return Malformed(f"report, {path.name}, {what}", command, path, content, False, (path.name, path.parent.name))
