"""``trilemma audit``: membership-inference attacks on a run, or on a file of predictions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from trilemma.attacks import Predictions, audit
from trilemma.cli.required import required_by, status_of
from trilemma.cli.table import describe_attacks
from trilemma.cli.terminal import show
from trilemma.errors import InputError
from trilemma.files import make_folder, read_json, reading, write_json
from trilemma.hints import one_line
from trilemma.trial.measure import write_signals
from trilemma.trial.run import CONFIG, RESULT, SIGNALS


def audit_command(options: argparse.Namespace) -> int:
    source, out, required = Path(options.source), Path(options.out), required_by(options)
    if options.resamples < 100:
        raise InputError(f"--resamples must be at least 100, not {options.resamples}")
    if (out / CONFIG).exists():
        raise InputError(f"{out} is the folder of a run: choose another --out")
    if (out / "audit.json").exists():
        raise InputError(f"{out} already holds an audit: choose another --out")
    matched_by: Any
    if source.is_dir():
        predictions = run_predictions(source)
        matched_by = options.match or ("class" if predictions.groups is None else "class,group")
    elif source.exists():
        predictions, matched_by = Predictions.load(source), options.match
    else:
        raise InputError(f"there is no {source}: give the folder of a run, or a .npz file of predictions")
    names = None if options.attacks is None else [name.strip() for name in options.attacks.split(",") if name.strip()]
    settings: dict[str, Any] = {"attacks": names, "seed": options.seed, "resamples": options.resamples}
    result = audit(predictions, match=matched_by, **settings)
    unmatched = None
    if result.match is not None and not result.match.trivial and source.is_dir():
        unmatched = audit(predictions, **settings).attacks
    make_folder(out)
    write_signals(out / SIGNALS, predictions, result)
    write_json(
        out / "audit.json",
        {
            "source": str(source),
            "members": result.members,
            "nonmembers": result.nonmembers,
            "matched_by": matched_by,
            "strongest_attack": result.strongest,
            "attacks": result.attacks,
            "attacks_naive": unmatched,
            "attacks_by_class": result.by_class,
            "attacks_by_group": result.by_group,
            "seed": options.seed,
            "resamples": options.resamples,
        },
    )
    how = f"non-members matched by {matched_by}" if matched_by else "non-members as given"
    show(f"{result.members} members, {result.nonmembers} non-members ({how}):")
    show(*describe_attacks(result.attacks, unmatched))
    show(f"audit         {out}")
    run = read_json(source / RESULT) if required and source.is_dir() else {}
    return status_of(required, {**run, "attacks": result.attacks})


def run_predictions(folder: Path) -> Predictions:
    """The predictions in the signals file of a finished run.

    Raises:
      InputError: the folder is not a run, the run is not finished, or its files cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    read_json(folder / CONFIG)
    path = folder / SIGNALS
    if not path.exists():
        raise InputError(
            f"{folder} holds no {SIGNALS}: the run is not finished; run the same command again to resume it"
        )
    try:
        table = pq.read_table(path)
        logits = np.stack(table["logits"].to_numpy())
        columns = {name: table[name].to_numpy() for name in ("label", "member", "source")}
        groups = None if table["group"].null_count else table["group"].to_numpy()
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError) as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): train again, or put the file back") from error
    with reading(folder / CONFIG):
        names = read_json(folder / CONFIG)["data"]["groups"]
        if names is not None and not all(isinstance(name, str) for name in names):
            raise TypeError(f"data.groups is {names!r}")
    with reading(path):
        return Predictions(
            logits=logits,
            labels=columns["label"],
            member=columns["member"],
            groups=groups,
            sources=columns["source"],
            group_names=tuple(names) if names and groups is not None else None,
        )
