"""The real attackers, for the tests of how strong they are."""

import pytest

from trilemma.attacks.learned import ForestAttacker, MlpAttacker


@pytest.fixture(scope="module", autouse=True)
def real_attackers(small_attackers):
    """Undoes what the tests of everything else have in their place."""
    small = ForestAttacker.trees, MlpAttacker.most_epochs
    ForestAttacker.trees, MlpAttacker.most_epochs = small_attackers
    yield
    ForestAttacker.trees, MlpAttacker.most_epochs = small


@pytest.fixture
def few_trees_and_epochs(real_attackers, monkeypatch):
    """For those tests of them that hold whatever their strength is."""
    monkeypatch.setattr(ForestAttacker, "trees", 5)
    monkeypatch.setattr(MlpAttacker, "most_epochs", 5)
