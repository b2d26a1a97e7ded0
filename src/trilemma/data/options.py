"""What a caller may choose when data are loaded, checked once and handed to every source."""

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
    """See :func:`trilemma.data.load_data`; ``cap`` is the memory limit in bytes."""

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
        """What was chosen, by option: what has no value is left out, and so is what does not change the data (where
        they lie, memory and progress)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if value is not None and name not in ("cap", "data_dir", "progress")
        }

    def decoder(self, framing: Framing | None = None) -> Decoder:
        """Decodes, or takes from the cache, with these options; ``framing`` None: the given size, if any.  Says too
        what was converted (see :func:`trilemma.data.decode.change_notes`)."""
        chosen = Framing(self.size) if framing is None else framing

        def decoder(encoded: EncodedImages, what: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
            result = decoded(encoded, framing=chosen, cap=self.cap, what=what, progress=self.progress)
            return result.images, change_notes(result.changes, what)

        return decoder
