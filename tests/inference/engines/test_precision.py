"""Less than float32 only where hardware and measured agreement both allow it."""

import pytest

from deployments.errors import ConfigurationError
from deployments.inference.engines.precision import (
    Precision,
    RequestedPrecision,
    choose_precision,
)

BOTH: tuple[Precision, ...] = ("bfloat16", "float16")


@pytest.mark.parametrize(
    ("fast", "calibration", "chosen"),
    [
        (("bfloat16",), {"bfloat16": 0.995}, "bfloat16"),
        (("bfloat16",), {"bfloat16": 0.99}, "bfloat16"),
        (("bfloat16",), {"bfloat16": 0.9899}, "float32"),
        (("bfloat16",), {}, "float32"),
        ((), {"bfloat16": 1.0, "float16": 1.0}, "float32"),
        (BOTH, {"bfloat16": 0.98, "float16": 0.999}, "float16"),
        (BOTH, {"bfloat16": 0.993, "float16": 0.999}, "bfloat16"),
    ],
)
def test_auto(
    fast: tuple[Precision, ...], calibration: dict[str, float], chosen: Precision
) -> None:
    assert choose_precision("auto", fast, calibration) == chosen


@pytest.mark.parametrize("named", ["float32", "bfloat16"])
def test_a_precision_that_is_named_is_taken(named: RequestedPrecision) -> None:
    assert choose_precision(named, ("bfloat16",), {}) == named


def test_a_precision_that_does_not_exist_here_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"float16 does not exist.*float32, bfloat16"):
        choose_precision("float16", ("bfloat16",), {"float16": 1.0})
