"""Requests to the machine."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import torch
from torch.nn.functional import cross_entropy
from trilemma.machine import keep_freed_memory
from trilemma.models import build
if sys.argv[1] == "keep":
    keep_freed_memory()
network = build("convnet", classes=10, image_shape=(3, 32, 32), norm="group", generator=torch.Generator())
images, labels = torch.zeros(64, 3, 32, 32), torch.zeros(64, dtype=torch.int64)
for update in range(9):
    if update == 6:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    cross_entropy(network(images), labels).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc treats freed memory")
def test_freed_memory_is_kept():
    """An update's tensors are some ten thousand pages, mapped again each time or not at all."""

    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert 4 * faults("keep") < faults("leave")
