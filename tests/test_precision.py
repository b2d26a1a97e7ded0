"""bfloat16 where it is faster, and nowhere else."""

import time

import pytest
import torch

import trilemma.precision as module
from trilemma.precision import faster_in_bfloat16


@pytest.fixture(autouse=True)
def asked_anew():
    faster_in_bfloat16.cache_clear()
    yield
    faster_in_bfloat16.cache_clear()


@pytest.mark.parametrize("slow", [torch.float32, torch.bfloat16])
def test_what_counts_is_the_time_and_not_the_instructions(monkeypatch, slow):
    def conv2d(images, weight, padding):
        time.sleep(0.01 if images.dtype == slow else 0.001)

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(module.F, "conv2d", conv2d)
    assert faster_in_bfloat16() is (slow == torch.float32)


def test_it_is_never_emulated(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(module.F, "conv2d", lambda *_, **__: pytest.fail("nothing to measure"))
    assert not faster_in_bfloat16()
