"""SHA-256 of the files in a folder, kept in the JSON file that is written last, so that a flipped bit is found.

That file holds ``checksums``: by name the SHA-256 (hex) of each file, and of itself, which is computed as if zeros were
in its place.  They tell damage from what was written, not a forger: whoever can change a file can change its
checksum.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trilemma.errors import InputError
from trilemma.files import json_text, opened, read_json, write_json
from trilemma.hints import one_line

KEY = "checksums"
_ZEROS = "0" * 64


def write_sealed(path: Path, values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Write JSON with the checksums of the files ``names`` beside it, as far as they are there, and of itself.

    Returns:
      What was written: ``values`` and ``checksums``.

    Raises:
      InputError: a file cannot be read or written.
      ValueError: a number is not finite.
    """
    files = [path.with_name(name) for name in names]
    sums = {file.name: _sha256(file) for file in files if file.exists()}
    sealed = values | {KEY: {**sums, path.name: _ZEROS}}
    text = json_text(sealed)
    sealed[KEY][path.name] = hashlib.sha256(text.encode()).hexdigest()
    write_json(path, sealed)
    return sealed


def read_sealed(path: Path) -> dict[str, Any]:
    """The JSON object in a file, whose own checksum is compared; files of earlier versions have none.

    Raises:
      InputError: it cannot be read, or is not what was written.
    """
    values = read_json(path)
    content = path.read_bytes()
    own = re.findall(rf'"{re.escape(path.name)}": "([0-9a-f]{{64}})"'.encode(), content)
    if KEY in values or own:  # either may be what was damaged
        sealed = content.replace(own[-1], _ZEROS.encode()) if own else b""
        if not own or hashlib.sha256(sealed).hexdigest() != own[-1].decode():
            raise _damaged(path, path)
    return values


def check(path: Path) -> dict[str, Any]:
    """:func:`read_sealed`, and every file that it has a checksum of, as far as they are there.

    Raises:
      InputError: one of them cannot be read, or is not what was written (the message names it).
    """
    values = read_sealed(path)
    for name, expected in values.get(KEY, {}).items():
        file = path.with_name(Path(name).name)
        if name != path.name and file.exists() and _sha256(file) != expected:
            raise _damaged(file, path)
    return values


def _sha256(path: Path) -> str:
    try:
        with opened(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path} ({one_line(error)}): put the file back, or delete its folder") from error


def _damaged(file: Path, sealed: Path) -> InputError:
    return InputError(
        f"{file} is damaged: its SHA-256 is not the one in {sealed.name}; put the file back, or delete its folder and "
        f"run the same command again"
    )
