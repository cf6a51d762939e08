"""Batches are cut into powers of two, and come back whole and in order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deployments.inference.engines.buckets import parts, run_in_parts
from deployments.inference.types import UInt8Array


@given(st.integers(1, 300))
def test_parts_are_falling_powers_of_two_that_add_up(count: int) -> None:
    cut = list(parts(count))
    assert sum(cut) == count
    assert all(part & (part - 1) == 0 for part in cut)
    assert cut == sorted(set(cut), reverse=True)


@given(st.integers(1, 20))
def test_every_image_is_run_once_and_in_order(count: int) -> None:
    batch = np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1).repeat(3, axis=3)
    seen: list[int] = []

    def run(part: UInt8Array) -> UInt8Array:
        seen.append(len(part))
        return part[..., 0] + 100

    maps = run_in_parts(batch, run)
    assert maps.shape == (count, 1, 1)
    assert list(maps[:, 0, 0]) == [100 + index for index in range(count)]
    assert seen == list(parts(count))
