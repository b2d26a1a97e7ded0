"""All inputs made to harm; see ``hostile_case``."""

from hostile_bombs import bombs, images
from hostile_case import complaints, warmed_up
from hostile_files import lengths, pickles, ways_out

__all__ = ["CASES", "complaints", "warmed_up"]

CASES = [*pickles(), *bombs(), *images(), *ways_out(), *lengths()]
