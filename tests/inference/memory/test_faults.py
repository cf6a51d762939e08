"""Faults happen where they are asked for, and only in tests."""

from collections.abc import Sequence

import pytest

from deployments.errors import ConfigurationError
from deployments.inference.memory.classify import Kind, classify
from deployments.inference.memory.faults import Fault, FaultInjector, faults_of


def in_tests(faults: str) -> dict[str, str]:
    return {"SPHEROSERVE_FAULTS": faults, "SPHEROSERVE_TESTING": "1"}


def kinds(faults: str, sizes: Sequence[int]) -> list[Kind | None]:
    """What each call of some size comes to, None where it succeeds."""
    call = FaultInjector(faults_of("hrnet", in_tests(faults))).wrap(list)
    found: list[Kind | None] = []
    for size in sizes:
        try:
            assert call(range(size)) == list(range(size))
            found.append(None)
        except RuntimeError as error:
            found.append(classify(error).kind)
    return found


def test_there_are_none_by_default() -> None:
    assert faults_of("hrnet", {}) == []
    assert faults_of("hrnet", {"SPHEROSERVE_FAULTS": ""}) == []


@pytest.mark.parametrize("switch", ["0", "true", ""])
def test_they_are_refused_outside_tests(switch: str) -> None:
    with pytest.raises(ConfigurationError, match="only for tests"):
        faults_of("hrnet", {"SPHEROSERVE_FAULTS": "hrnet:oom@1", "SPHEROSERVE_TESTING": switch})


def test_each_model_has_its_own() -> None:
    environment = in_tests("hrnet:oom@3,cudnn@5; resunet_small:illegal@7")
    assert faults_of("hrnet", environment) == [Fault("oom", 3), Fault("cudnn", 5)]
    assert faults_of("resunet_small", environment) == [Fault("illegal", 7)]
    assert faults_of("resunet_advanced", environment) == []


@pytest.mark.parametrize("text", ["hrnet", "hrnet:oom", "hrnet:smoke@3", "hrnet:oom@x", "oom@3"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no fault"):
        faults_of("resunet_small", in_tests(text))


def test_the_named_calls_fail_as_the_executor_classifies_them() -> None:
    assert kinds("hrnet:oom@2,cudnn@3,cublas@4,item@5", [1] * 6) == [
        None,
        Kind.OOM,
        Kind.SUSPECT_OOM,
        Kind.SUSPECT_OOM,
        Kind.ITEM,
        None,
    ]


def test_calls_of_too_many_images_fail() -> None:
    assert kinds("hrnet:oom>4", [5, 4, 8, 1]) == [Kind.OOM, None, Kind.OOM, None]


def test_a_lost_device_stays_lost() -> None:
    assert kinds("hrnet:illegal@2", [1, 1, 1]) == [None, Kind.FATAL, Kind.FATAL]
