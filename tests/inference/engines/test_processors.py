"""Threads follow the limit of the container."""

import os
from pathlib import Path

import pytest

from deployments.inference.engines.processors import usable_cpus

ALL = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", ALL),
        ("100000 100000\n", 1),
        # One and a half processors let two threads work most of the time.
        ("150000 100000\n", min(2, ALL)),
        ("20000 100000\n", 1),
        ("6400000 100000\n", min(64, ALL)),
    ],
)
def test_a_limit_counts(limit: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(limit)
    assert usable_cpus(tmp_path) == expected


def test_without_a_limit_all_that_it_may_run_on_count(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == ALL
