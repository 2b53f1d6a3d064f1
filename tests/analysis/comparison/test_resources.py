import platform
import time

import numpy as np
import pytest
import torch

from shapae.analysis.comparison.resources import measure_usage

SIZE = 80_000_000


@pytest.mark.parametrize("make", [lambda: np.ones(SIZE // 8), lambda: torch.ones(SIZE // 4)], ids=["numpy", "torch"])
def test_what_is_held_inside_is_seen_also_when_it_is_given_back(make):
    with measure_usage(torch.device("cpu")) as taken:
        held = make()
        time.sleep(0.02)
        del held
    assert 0.9 * SIZE < taken.bytes < 1.5 * SIZE
    assert 0.02 <= taken.seconds < 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others keep what is free")
def test_what_was_free_before_and_is_used_again_is_seen():
    """Small pieces, which a C library keeps when they are freed."""

    def work():
        return [bytearray(1000) for _ in range(20_000)]

    first = work()
    keep = bytearray(1000)  # at the end of the heap, so that it does not shrink by itself
    del first
    with measure_usage(torch.device("cpu")) as taken:
        held = work()
        time.sleep(0.02)
    assert len(held) + len(keep) > 0
    assert taken.bytes > 0.8 * 20_000 * 1000


def test_seconds_are_known_also_if_it_fails():
    with pytest.raises(KeyError), measure_usage(torch.device("cpu")) as taken:
        raise KeyError
    assert taken.seconds >= 0
