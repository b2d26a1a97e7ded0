"""Networks by name, and their layers."""

from trilemma.models.catalog import NAMES, build

__all__ = ["NAMES", "build"]
