"""The fingerprint of a run's data, which must stay with whoever holds the data.

A SHA-256 of the training data confirms a guess: somebody who knows all examples but one can guess that one and compare
digests.  No noise prevents that, so nothing that is released may contain the digest.  It is therefore left out of
``config.json`` and kept beside it, in a file that only its owner can read.  Resuming a run needs it: a run on other
data is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trilemma.errors import InputError
from trilemma.files import json_text, read_json, written
from trilemma.trial.run import CONFIG

FINGERPRINT = "fingerprint.private.json"
_NOTE = "Not for release: this digest confirms a guess of the training data."


def write_fingerprint(folder: Path, fingerprint: str) -> None:
    """Write ``fingerprint.private.json`` in ``folder``, with mode 0600 from its first byte on.

    Raises:
      InputError: the disk is full or the folder cannot be written.
    """
    with written(folder / FINGERPRINT, private=True) as part:
        part.write_text(json_text({"fingerprint": fingerprint, "note": _NOTE}), "utf-8")


def read_fingerprint(folder: Path, config: Mapping[str, Any]) -> str:
    """The fingerprint of the data of the run in ``folder``.

    Args:
      config: its ``config.json``, where earlier versions kept the fingerprint.

    Raises:
      InputError: the folder lacks it (because it was left out of a copy, as it should be for release), or it cannot be
        read.
    """
    about = config.get("data")
    earlier = about.get("fingerprint") if isinstance(about, Mapping) else None
    if isinstance(earlier, str):
        return earlier
    path = folder / FINGERPRINT
    if not path.exists():
        raise InputError(
            f"{folder} has a {CONFIG} but no {FINGERPRINT}, without which nobody can tell whether its run learned from "
            "the same data: put the file back, or choose another --out"
        )
    fingerprint = read_json(path).get("fingerprint")
    if not isinstance(fingerprint, str):
        raise InputError(f"{path} holds no fingerprint: put the file back as it was, or choose another --out")
    return fingerprint
