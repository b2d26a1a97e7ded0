"""A small prior, so that fitting takes a third of a second."""

import pytest

from trilemma.models.prior import family, rows, synthetic


@pytest.fixture
def small(monkeypatch):
    """Few synthetic images."""
    monkeypatch.setattr(synthetic, "_CHUNK", 100)  # images are drawn in whole chunks
    monkeypatch.setattr(family, "DICTIONARY_IMAGES", 100)
    monkeypatch.setattr(family, "_WHITENING_IMAGES", 40)
    monkeypatch.setattr("trilemma.models.prior.patches._STATISTICS", 2000)
    monkeypatch.setattr(rows, "_SEGMENT", 16)
    monkeypatch.setattr(rows, "_PART", 8)
