"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``: what is being done, and how many of how many steps are behind; ``total`` may be 0
where it is not known."""
