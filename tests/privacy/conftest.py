"""What the tests of this package share: the slow implementations that the fast ones are judged by."""

from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

import clipping_oracle


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """Clipped sums one example at a time (``clipping_oracle``)."""
    return clipping_oracle


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The networks here are too small for more, and threads that wait for each other are slow on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
