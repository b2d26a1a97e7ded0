"""Small attackers for the tests of whole commands."""

import pytest


@pytest.fixture(autouse=True)
def quick(small_attackers):
    """These tests are about the way from a recipe to results, whatever the results are."""
