"""Measured time and memory of computations of known size."""

import platform
import time

import numpy as np
import pytest
import torch

from shapae.analysis.comparison.resources import measure_usage

SIZE = 80_000_000


@pytest.mark.parametrize("make", [lambda: np.ones(SIZE // 8), lambda: torch.ones(SIZE // 4)], ids=["numpy", "torch"])
def test_memory_is_measured_even_if_it_is_freed_inside(make):
    with measure_usage(torch.device("cpu")) as usage:
        held = make()
        time.sleep(0.02)
        del held
    assert 0.9 * SIZE < usage.bytes < 1.5 * SIZE
    assert 0.02 <= usage.seconds < 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep free memory")
def test_reused_free_memory_is_measured():
    """Small blocks: a C library keeps them when they are freed."""

    def work():
        return [bytearray(1000) for _ in range(20_000)]

    first = work()
    keep = bytearray(1000)  # at the end of the heap, so that the heap does not shrink by itself
    del first
    with measure_usage(torch.device("cpu")) as usage:
        held = work()
        time.sleep(0.02)
    assert len(held) + len(keep) > 0
    assert usage.bytes > 0.8 * 20_000 * 1000


def test_time_is_measured_even_after_an_exception():
    with pytest.raises(KeyError), measure_usage(torch.device("cpu")) as usage:
        raise KeyError
    assert usage.seconds >= 0
