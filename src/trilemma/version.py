"""The version of the package, which runs and studies record."""

__version__ = "0.1.0"
