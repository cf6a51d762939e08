"""Limits are set, moved, cleared and refused."""

import resource
from collections.abc import Iterator
from unittest import mock

import pytest

from deployments.errors import ConfigurationError
from deployments.inference.memory.limits import (
    ProcessMemoryLimit,
    check_gpu_shares,
    gpu_fraction,
    limit_gpu_memory,
)
from deployments.inference.memory.process import read_process_memory


@pytest.fixture
def unchanged_limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def soft_limit() -> int:
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def test_shares_that_fit_are_accepted() -> None:
    check_gpu_shares({"hrnet": 0.4, "resunet_small": 0.3, "resunet_advanced": 0.3})
    check_gpu_shares({f"model{i}": 0.1 for i in range(10)})  # sums to 0.999...
    check_gpu_shares({"hrnet": 1.0, "resunet_small": 0.5}, gpus=2)


def test_shares_that_do_not_fit_are_refused_with_the_excess() -> None:
    with pytest.raises(ConfigurationError, match=r"exceed the 1 GPU available by 0\.20"):
        check_gpu_shares({"hrnet": 0.7, "resunet_small": 0.5})


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="hrnet"):
        check_gpu_shares({"hrnet": 0.0})


def test_the_fraction_is_the_share_less_the_reserve() -> None:
    assert gpu_fraction(0.4, 10) == pytest.approx(0.36)


@pytest.mark.parametrize(("share", "reserve"), [(0, 10), (1.1, 10), (0.5, 100), (0.5, -1)])
def test_fractions_out_of_range_are_refused(share: float, reserve: float) -> None:
    with pytest.raises(ConfigurationError):
        gpu_fraction(share, reserve)


def test_torch_is_told_the_fraction() -> None:
    with mock.patch("torch.cuda.set_per_process_memory_fraction") as told:
        assert limit_gpu_memory("cuda:1", 0.5, 10) == pytest.approx(0.45)
    told.assert_called_once_with(pytest.approx(0.45), "cuda:1")


@pytest.mark.usefixtures("unchanged_limit")
def test_the_process_limit_is_above_what_was_in_use_and_can_be_moved() -> None:
    original = soft_limit()
    base = read_process_memory().data_bytes
    limit = ProcessMemoryLimit()
    limit.set(2000)
    first = soft_limit()
    assert 0 <= first - base - 2000 * 2**20 < 50 * 2**20
    limit.set(3000)
    assert soft_limit() == first + 1000 * 2**20
    limit.set(1500)
    assert (soft_limit(), limit.limit_mb) == (first - 500 * 2**20, 1500)
    limit.set(None)
    assert (soft_limit(), limit.limit_mb) == (original, None)


@pytest.mark.usefixtures("unchanged_limit")
def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="above 0"):
        ProcessMemoryLimit().set(0)


def test_a_limit_above_the_hard_limit_is_refused_with_the_excess() -> None:
    hard = read_process_memory().data_bytes + 100 * 2**20
    with (
        mock.patch("resource.getrlimit", return_value=(hard, hard)),
        mock.patch("resource.setrlimit") as moved,
    ):
        limit = ProcessMemoryLimit()
        with pytest.raises(ConfigurationError, match="hard limit of the process by"):
            limit.set(1000)
    moved.assert_not_called()
