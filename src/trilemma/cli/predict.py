"""``trilemma predict``: classify images with the model of a run, and write a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trilemma.attacks.npz import read_arrays
from trilemma.cli.terminal import show, show_error
from trilemma.data.listing import has_ending
from trilemma.errors import InputError
from trilemma.files import make_folder, read_json, reading, written
from trilemma.hints import did_you_mean
from trilemma.spreadsheet import csv_text, write_csv
from trilemma.trial.model import Model, load_model
from trilemma.trial.run import CONFIG

FORMATS = (".csv", ".parquet", ".npz")
_CARRIED = {"labels": "label", "member": "member", "groups": "group", "sources": "source"}
"""Arrays of a file of images that are copied to the output, and what they are called there."""


def predict_command(options: argparse.Namespace) -> int:
    out = Path(options.out)
    if not has_ending(out, *FORMATS):
        raise InputError(f"--out must end in {', '.join(FORMATS)}, not {out.name}{did_you_mean(out.suffix, FORMATS)}")
    if out.exists():
        raise InputError(f"{out} is already there: choose another --out, or delete it")
    model = load_model(options.run, network=options.network, tell=show_error)
    images, carried = _images(options.images)
    pixels = model.read(images, resize=options.resize)
    with reading(Path(options.run) / CONFIG):
        data = read_json(Path(options.run) / CONFIG)["data"]
        names, skewed = data["groups"], data["request"].get("skew") is not None
    carried = with_names(carried, "group", names)
    if not has_ending(out, ".npz"):  # in a table a number may be the name of another class
        carried = with_names(carried, "label", model.classes)
    columns = predictions_of(model, model.logits(pixels), pixels.names) | carried
    make_folder(out.parent)
    _write(out, columns, model)
    if skewed and "member" in columns and "source" not in columns:
        show_error(
            f"note: {options.images} has no array sources, so an audit counts every test image of the skewed data, and "
            "the run counted one of each pair: add sources (data.test.sources), or audit the run itself"
        )
    count = len(pixels.names)
    show(f"{count:,} image{'' if count == 1 else 's'} classified: {out}")
    return 0


def _images(source: str) -> tuple[Any, dict[str, Any]]:
    """The images, and the other arrays of a ``.npz`` that are copied."""
    path = Path(source)
    if not has_ending(path, ".npz"):
        if not path.exists():
            raise InputError(f"there is no {path}: give a folder of images, an image, or a .npz with the array images")
        return source, {}
    arrays, available = read_arrays(path, ("images", "group", "source", *_CARRIED))
    if "images" not in arrays:
        raise InputError(
            f"{path} has no array images (it contains {', '.join(available) or 'none'}): rename the one that holds them"
        )
    images = arrays.pop("images")
    carried = {_CARRIED.get(name, name): values for name, values in arrays.items()}
    for name, values in carried.items():
        if values.shape != images.shape[:1]:
            raise InputError(f"{path}: {name} has shape {values.shape}, not ({len(images)},), one for each image")
    return images, carried


def with_names(carried: dict[str, Any], column: str, names: Sequence[str] | None) -> dict[str, Any]:
    """The copied arrays, with the run's names for its groups or classes in place of their numbers."""
    numbers = carried.get(column)
    if not names or numbers is None or numbers.dtype.kind not in "iu":
        return carried
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < len(names)):
        return carried  # not the run's
    return carried | {column: np.array(names)[numbers]}


def predictions_of(model: Model, logits: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Columns of a table of predictions: image, predicted class, and the probability and logit of each class.

    Probabilities and logits are float64, which a CSV file gives back exactly.
    """
    scores = np.asarray(logits, dtype=np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return {
        "image": np.array(names),
        "predicted": np.array([model.classes[index] for index in scores.argmax(axis=1)]),
        **{f"prob_{name}": probabilities[:, index] for index, name in enumerate(model.classes)},
        **{f"logit_{name}": scores[:, index] for index, name in enumerate(model.classes)},
    }


def _write(out: Path, columns: dict[str, Any], model: Model) -> None:
    if has_ending(out, ".npz"):
        named = {name: columns[name] for name in columns if not name.startswith(("prob_", "logit_"))}
        logits = np.stack([columns[f"logit_{name}"] for name in model.classes], axis=1)
        of_arrays = {"label": "labels", "source": "sources"}  # the names that an audit reads
        arrays = {of_arrays.get(name, name): values for name, values in named.items()}
        with written(out) as part, open(part, "wb") as file:
            np.savez(file, logits=logits, classes=np.array(model.classes), **arrays)
        return
    import pandas as pd

    table = pd.DataFrame(columns)
    if has_ending(out, ".csv"):
        write_csv(table.rename(columns=csv_text), out)
    else:
        with written(out) as part:
            table.to_parquet(part, index=False)
