"""The version of the package, which runs and studies record."""

__version__ = "0.2.0"
