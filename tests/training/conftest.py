"""Two small data sets: real digits and noise."""

import numpy as np
import pytest

from trilemma.data.dataset import Dataset, Split


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The first of scikit-learn's real digits: 96 to train on, 64 to test on."""
    from trilemma.data import load_data

    return load_data("digits", limit=96, test_limit=64)


@pytest.fixture(scope="session")
def noise_images() -> Dataset:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8), rng.integers(0, 3, count))

    return Dataset("noise", split(48), split(40), ("a", "b", "c"), shift=1)
