"""The options of loading, checked once and passed to every source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trilemma.data.cache import decoded
from trilemma.data.decode import EncodedImages, Framing, change_notes
from trilemma.data.readers.rows import Decoder
from trilemma.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of :func:`trilemma.data.load_data`; ``cap`` is the memory limit in bytes."""

    cap: int
    data_dir: Path | None = None
    skew: float | None = None
    classes_seed: int | None = None
    target: str | None = None
    protected: str | None = None
    columns: Mapping[str, str] | None = None
    size: int | None = None
    test_split: str | None = None
    limit: int | None = None
    test_limit: int | None = None
    seed: int = 0
    flips: bool | None = None
    shift: int | None = None
    progress: Progress | None = None

    def chosen(self) -> dict[str, Any]:
        """The options that have a value, except those that do not change the data (their place, memory and
        progress)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and name not in ("cap", "data_dir", "progress")
        }

    def decoder(self, framing: Framing | None = None) -> Decoder:
        """A function that decodes images with these options or reads them from the cache, and says what was converted
        (see :func:`trilemma.data.decode.change_notes`).  ``framing`` None: these options' ``size``, if any."""
        chosen = Framing(self.size) if framing is None else framing

        def decoder(encoded: EncodedImages, what: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
            result = decoded(encoded, framing=chosen, cap=self.cap, what=what, progress=self.progress)
            return result.images, change_notes(result.changes, what)

        return decoder
