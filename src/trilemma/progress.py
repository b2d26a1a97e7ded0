"""The callback by which long computations report their progress."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``: what is being done, and how many of how many steps are done; ``total`` may be 0
where it is not known."""
