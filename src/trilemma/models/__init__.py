"""Networks by name, and their layers."""

from trilemma.models.catalog import NAMES, build, network_inputs

__all__ = ["NAMES", "build", "network_inputs"]
