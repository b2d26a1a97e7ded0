"""What learns: networks by name, and the layers they are made of."""

from trilemma.models.catalog import NAMES, build

__all__ = ["NAMES", "build"]
