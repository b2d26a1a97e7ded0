"""Pickles, ways out of a folder, and files too deep or too long for a reader without care."""

from __future__ import annotations

import json
import os
import pickle
import stat
import struct
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hostile_case import (
    ALLOWED,
    DIGITS,
    SMALL,
    Canary,
    Hostile,
    arrays_of,
    audit,
    command_for,
    folder_of_classes,
    put,
    rang,
    train,
)
from malformed import npz, png, run

# --- pickles ----------------------------------------------------------------------------------------------------------


def object_array(kind: str, name: str, dtype: Any = object) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        count = 30 if kind == "data" else 80
        value = np.empty(count, dtype=dtype)
        value[:] = Canary(folder) if dtype is object else [(1, Canary(folder))] * count
        return command_for(kind, put(folder / "x.npz", npz(arrays_of(kind) | {name: value})))

    def live(folder: Path) -> bool:
        return rang(folder, lambda: np.load(folder / "x.npz", allow_pickle=True)[name])

    return Hostile(f"pickled array {name} of {kind}" + ("" if dtype is object else ", in a field"), make, live)


def pickled_batches(folder_name: str, files: tuple[str, ...], named: str) -> Hostile:
    """CIFAR's archive of pickles."""

    def make(folder: Path) -> tuple[str, ...]:
        for name in files:
            put(folder / "data" / folder_name / name, pickle.dumps(Canary(folder)))
        data = folder / "data" / folder_name if named == "path" else named
        return train(data, *(() if named == "path" else ("--data-dir", str(folder / "data"))))

    def live(folder: Path) -> bool:
        return rang(folder, lambda: pickle.loads((folder / "data" / folder_name / files[0]).read_bytes()))

    return Hostile(f"pickles in {folder_name}, as {named}", make, live)


def disguised(
    name: str, command: Callable[[Path, Path], tuple[str, ...]], out: str = "", may_go_on: bool = False
) -> Hostile:
    """A pickle under a name that has nothing to do with pickles."""

    def make(folder: Path) -> tuple[str, ...]:
        prepared = command(folder, folder / name)
        put(folder / name, pickle.dumps(Canary(folder)))
        return prepared

    def live(folder: Path) -> bool:
        return rang(folder, lambda: pickle.loads((folder / name).read_bytes()))

    return Hostile(f"a pickle called {name}", make, live, may_go_on, out)


def torch_archive(kind: str) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        import torch

        torch.save({"images": Canary(folder)}, folder / "x.npz")
        return command_for(kind, folder / "x.npz")

    def live(folder: Path) -> bool:
        import torch

        return rang(folder, lambda: torch.load(folder / "x.npz", weights_only=False))

    return Hostile(f"a checkpoint of torch as {kind}", make, live)


def a_run(folder: Path, path: Path) -> tuple[str, ...]:
    """The folder of a run that may be continued, whose file is then replaced."""
    ending = run(("train", *DIGITS, *SMALL), folder / "run", limit=120)
    assert ending.status == 130, ending.said
    return ("train", *DIGITS, *SMALL)


def a_finished_run(folder: Path, path: Path) -> tuple[str, ...]:
    for name in ("config.json", "result.json"):
        put(folder / "run" / name, b"{}")
    put(folder / "run" / "signals.parquet", b"")
    return audit(folder / "run")


def a_study(folder: Path, path: Path) -> tuple[str, ...]:
    put(folder / "study" / "study.json", b"{}")
    return ("report", str(folder / "study"))


def pickles() -> list[Hostile]:
    batches = ("data_batch_1", "batches.meta")
    classes = lambda folder, path: train(folder_of_classes(folder / "d"))  # noqa: E731
    return [
        *(object_array("data", name) for name in ("images", "labels", "groups", "split", "classes", "group_names")),
        *(
            object_array("predictions", name)
            for name in (
                "logits",
                "labels",
                "member",
                "group",
                "sources",
                "weights",
                "reference_logits",
                "reference_member",
            )
        ),
        object_array("data", "labels", [("a", "i4"), ("b", "O")]),
        object_array("predictions", "labels", [("a", "i4"), ("b", "O")]),
        pickled_batches("cifar-10-batches-py", batches, "cifar10"),
        pickled_batches("cifar-10-batches-py", batches, "path"),
        pickled_batches("cifar10", batches, "cifar10"),
        pickled_batches("cifar-100-python", ("meta", "train"), "cifar100"),
        pickled_batches("cifar-100-python", ("meta", "train"), "path"),
        *(
            disguised(f"x{ending}", lambda folder, path: train(path))
            for ending in (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".npy", ".npz", ".parquet", ".bin", "")
        ),
        disguised("theirs.npz", lambda folder, path: audit(path)),
        disguised("theirs.pkl", lambda folder, path: audit(path)),
        disguised("d/train/a/0.png", classes),
        disguised("d/train/metadata.csv", classes),
        disguised("d/train.parquet", classes),
        disguised("mine.toml", lambda folder, path: ("train", *DIGITS, "--recipe", str(path))),
        disguised("study.toml", lambda folder, path: ("study", str(path))),
        disguised("run/config.json", a_run, out="run"),
        disguised("run/fingerprint.private.json", a_run, out="run"),
        disguised("run/checkpoint.safetensors", a_run, out="run", may_go_on=True),
        disguised("run/signals.parquet", a_finished_run),
        disguised("study/study.json", a_study),
        torch_archive("data"),
        torch_archive("predictions"),
    ]


# --- ways out of the folder -------------------------------------------------------------------------------------------

SECRET = png(np.random.default_rng(7))


def way_out(name: str, make: Callable[[Path], tuple[str, ...]], reached: Callable[[Path], Path]) -> Hostile:
    """Something by which a naive reader comes to ``secret.png`` or to a device beside the folder."""

    def prepared(folder: Path) -> tuple[str, ...]:
        put(folder / "secret.png", SECRET)
        return make(folder)

    def live(folder: Path) -> bool:
        path = reached(folder)
        if stat.S_ISREG(os.stat(path).st_mode):
            return path.read_bytes() == SECRET
        return True  # a pipe or a device: reading would never end

    return Hostile(f"a way out: {name}", prepared, live)


def listing(name: str, file_name: Callable[[Path], str], ending: str) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        root = folder_of_classes(folder / "d")
        (root / "link.png").symlink_to(folder / "secret.png")
        (root / "linked").symlink_to(folder)
        rows = [
            {"file_name": f"{split}/{cls}/{n}.png", "label": cls}
            for split in ("train", "test")
            for cls in "ab"
            for n in range(4)
        ]
        rows.append({"file_name": file_name(folder), "label": "a"})
        text = "\n".join(json.dumps(row) for row in rows)
        if ending == "csv":
            text = "\n".join(["file_name,label", *(f"{row['file_name']},{row['label']}" for row in rows)])
        put(root / f"metadata.{ending}", text.encode())
        return train(root)

    return way_out(f"{name} in metadata.{ending}", make, lambda folder: folder / "d" / file_name(folder))


def link(name: str, place: str, target: Callable[[Path], Path], reached: str = "") -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        root = folder_of_classes(folder / "d")
        put(folder / "other" / "c" / "secret.png", SECRET)
        (root / place).symlink_to(target(folder))
        return train(root)

    return way_out(name, make, lambda folder: folder / "d" / (reached or place))


def table_path(name: str, path: Callable[[Path], str]) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rng = np.random.default_rng(0)
        images = [{"bytes": png(rng), "path": None} for _ in range(19)] + [{"bytes": None, "path": path(folder)}]
        pq.write_table(
            pa.table({"image": images, "label": [n % 2 for n in range(20)]}), put(folder / "d" / "x.parquet", b"")
        )
        return train(folder / "d" / "x.parquet")

    return way_out(
        f"{name} in a table",
        make,
        lambda folder: Path(os.path.join(folder / "d", path(folder).removeprefix("file://"))),
    )


def pipe(name: str, command: Callable[[Path], tuple[str, ...]], out: str = "") -> Hostile:
    """A pipe in place of a file: who opens it waits for ever."""

    def make(folder: Path) -> tuple[str, ...]:
        arguments = command(folder)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        return arguments

    return Hostile(
        f"a pipe called {name}", make, lambda folder: stat.S_ISFIFO(os.stat(folder / name).st_mode), True, out
    )


def member_path(kind: str, name: str) -> Hostile:
    """A name in a zip file that leads elsewhere when it is unpacked there."""

    def make(folder: Path) -> tuple[str, ...]:
        return command_for(kind, put(folder / "in" / "x.npz", npz({name: np.zeros(3), "labels": np.zeros(3)})))

    def live(folder: Path) -> bool:
        with zipfile.ZipFile(folder / "in" / "x.npz") as archive:
            named = archive.infolist()[0].filename
        return not Path(os.path.normpath(folder / "in" / named)).is_relative_to(folder / "in")

    return Hostile(f"a member called {name} as {kind}", make, live)


def ways_out() -> list[Hostile]:
    ways: list[tuple[str, Callable[[Path], str]]] = [
        ("..", lambda folder: "../secret.png"),
        (".. after a folder", lambda folder: "train/../../secret.png"),
        ("an absolute path", lambda folder: str(folder / "secret.png")),
        ("a link", lambda folder: "link.png"),
        ("a link to a folder", lambda folder: "linked/secret.png"),
    ]
    return [
        *(listing(name, path, ending) for ending in ("csv", "jsonl") for name, path in ways),
        link("a link among the images", "train/a/9.png", lambda folder: folder / "secret.png"),
        link("a link that is a class", "train/c", lambda folder: folder / "other" / "c", "train/c/secret.png"),
        link("a link that is a split", "valid", lambda folder: folder / "other", "valid/c/secret.png"),
        link("a link to a device", "train/a/9.png", lambda folder: Path("/dev/zero")),
        table_path("an absolute path", lambda folder: str(folder / "secret.png")),
        table_path("..", lambda folder: "../secret.png"),
        table_path("an address", lambda folder: f"file://{folder}/secret.png"),
        pipe("x.npz", lambda folder: train(folder / "x.npz")),
        pipe("x.parquet", lambda folder: train(folder / "x.parquet")),
        pipe("theirs.npz", lambda folder: audit(folder / "theirs.npz")),
        pipe("mine.toml", lambda folder: ("train", *DIGITS, "--recipe", str(folder / "mine.toml"))),
        pipe("study.toml", lambda folder: ("study", str(folder / "study.toml"))),
        pipe("d/train/a/9.png", lambda folder: train(folder_of_classes(folder / "d"))),
        pipe("d/metadata.csv", lambda folder: train(folder_of_classes(folder / "d"))),
        pipe("run/config.json", lambda folder: a_finished_run(folder, folder)),
        pipe("study/study.json", lambda folder: a_study(folder, folder)),
        member_path("data", "../../evil"),
        member_path("data", "/tmp/evil"),
        member_path("predictions", "../../evil"),
    ]


# --- depth and length -------------------------------------------------------------------------------------------------


def recurses(read: Callable[[], Any]) -> bool:
    """Whether reading it naively goes deeper than Python can."""
    try:
        read()
    except (RecursionError, MemoryError):
        return True
    except ValueError as error:
        return "digits" in str(error)  # Python's own guard: without it, quadratic time
    return False


def parsed(
    name: str,
    file: str,
    content: str,
    read: Callable[[str], Any],
    command: Callable[[Path, Path], tuple[str, ...]],
    out: str = "",
) -> Hostile:
    def make(folder: Path) -> tuple[str, ...]:
        prepared = command(folder, folder / file)
        put(folder / file, content.encode())
        return prepared

    return Hostile(f"{name} in {file}", make, lambda folder: recurses(lambda: read(content)), False, out)


def long(
    name: str,
    file: str,
    content: Callable[[], bytes],
    command: Callable[[Path, Path], tuple[str, ...]],
    out: str = "",
    may_go_on: bool = False,
) -> Hostile:
    """A length or a size that only a naive reader believes."""

    def make(folder: Path) -> tuple[str, ...]:
        prepared = command(folder, folder / file)
        put(folder / file, content())
        return prepared

    def live(folder: Path) -> bool:
        start = (folder / file).read_bytes()[:8]
        return int.from_bytes(start, "little") > ALLOWED or len(content()) * 20 > ALLOWED

    return Hostile(f"{name} in {file}", make, live, may_go_on, out)


def repeated_rows(kind: str) -> Hostile:
    """A column of a hundred million equal values, which a Parquet file holds in some kilobytes."""

    def make(folder: Path) -> tuple[str, ...]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = 20_000_000
        index = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int8)), pa.array(["a"]))
        image = pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(rows, dtype=np.int8)), pa.array([png(np.random.default_rng(0))])
        )
        with pq.ParquetWriter(
            folder / "x.parquet", pa.schema([("image", image.type), ("label", index.type)])
        ) as writer:
            writer.write_table(pa.table({"image": image, "label": index}))
        return train(folder / "x.parquet")

    def live(folder: Path) -> bool:
        import pyarrow.parquet as pq

        size = (folder / "x.parquet").stat().st_size
        return pq.read_metadata(folder / "x.parquet").num_rows * 64 > ALLOWED + size

    return Hostile(f"repeated {kind} in a table", make, live)


def sparse(name: str, command: Callable[[Path], tuple[str, ...]], size: int) -> Hostile:
    """A file that takes no room on the disk and much in memory."""

    def make(folder: Path) -> tuple[str, ...]:
        arguments = command(folder)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            file.truncate(size)
        return arguments

    return Hostile(
        f"a file of {size >> 30} GiB of nothing called {name}",
        make,
        lambda folder: (folder / name).stat().st_size > ALLOWED,
    )


def archive_of(folder: Path) -> tuple[str, ...]:
    for name in [*(f"data_batch_{number}.bin" for number in range(2, 6)), "test_batch.bin"]:
        put(folder / "cifar-10-batches-bin" / name, bytes(3073))
    return train("cifar10", "--data-dir", str(folder))


def lengths() -> list[Hostile]:
    deep_json = "[" * 200_000
    deep_object = '{"a":' * 100_000
    digits = '{"epochs": ' + "9" * 100_000 + "}"
    recipe = lambda folder, path: ("train", *DIGITS, "--recipe", str(path), "--minutes", "1e-9")  # noqa: E731
    study = lambda folder, path: ("study", str(path))  # noqa: E731
    lines = lambda folder, path: train(folder_of_classes(folder / "d"))  # noqa: E731
    deep_keys = "model" + ".a" * 5_000 + " = 1"  # memory by the square of this: 60,000 would take 17 GB
    return [
        *(
            parsed(name, "d/metadata.jsonl", text, json.loads, lines)
            for name, text in (("lists", deep_json), ("objects", deep_object))
        ),
        *(parsed("lists", f"run/{name}.json", deep_json, json.loads, a_finished_run) for name in ("config",)),
        *(parsed("objects", f"run/{name}.json", deep_object, json.loads, a_finished_run) for name in ("config",)),
        parsed("a number of 100,000 digits", "run/config.json", digits, json.loads, a_finished_run),
        parsed("lists", "study/study.json", deep_json, json.loads, a_study),
        parsed("objects", "study/study.json", deep_object, json.loads, a_study),
        *(
            parsed("lists", file, f"seeds = {'[' * 100_000}", tomllib.loads, command)
            for file, command in (("mine.toml", recipe), ("study.toml", study))
        ),
        *(
            parsed("tables", file, f"grid = {'{a = ' * 40_000}", tomllib.loads, command)
            for file, command in (("mine.toml", recipe), ("study.toml", study))
        ),
        *(
            parsed("keys", file, deep_keys, lambda text: repr(tomllib.loads(text)), command)
            for file, command in (("mine.toml", recipe), ("study.toml", study))
        ),
        *(
            long("a header of 2^60 bytes", f"run/{name}", lambda: struct.pack("<Q", 2**60) + b"{}", a_run, "run", True)
            for name in ("checkpoint.safetensors",)
        ),
        long(
            "a header of 2^63 bytes",
            "run/checkpoint.safetensors",
            lambda: struct.pack("<Q", 2**63 + 1) + b"{}",
            a_run,
            "run",
            True,
        ),
        long("14 MiB", "mine.toml", lambda: b"[[a]]\n" * (14 * 2**20 // 6), recipe),
        long("14 MiB", "study.toml", lambda: b"[[a]]\n" * (14 * 2**20 // 6), study),
        long("30 MiB", "run/config.json", lambda: b'{"a":[' + b"[]," * (10 * 2**20) + b"[]]}", a_finished_run),
        long("30 MiB", "study/study.json", lambda: b'{"a":[' + b"[]," * (10 * 2**20) + b"[]]}", a_study),
        long(
            "30 MiB of one image",
            "d/metadata.csv",
            lambda: b"file_name,label\n" + b"train/a/0.png,a\n" * (2 * 2**20),
            lines,
        ),
        repeated_rows("values"),
        sparse("x.parquet", lambda folder: train(folder / "x.parquet"), 64 * 2**30),
        sparse("x.npz", lambda folder: train(folder / "x.npz"), 64 * 2**30),
        sparse("theirs.npz", lambda folder: audit(folder / "theirs.npz"), 64 * 2**30),
        sparse("cifar-10-batches-bin/data_batch_1.bin", archive_of, 64 * 2**30),
        sparse("mine.toml", lambda folder: recipe(folder, folder / "mine.toml"), 8 * 2**30),
        sparse("study/study.json", lambda folder: a_study(folder, folder), 8 * 2**30),
        sparse("d/metadata.csv", lambda folder: lines(folder, folder), 8 * 2**30),
        sparse("d/train/a/9.png", lambda folder: lines(folder, folder), 8 * 2**30),
    ]
