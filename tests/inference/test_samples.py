"""Scaling of samples to 8 bits."""

import numpy as np
import numpy.typing as npt
import pytest

from deployments.errors import InvalidImage
from deployments.inference.images.samples import to_uint8


def scale(values: list[float], dtype: npt.DTypeLike, bits: int = 16) -> list[int]:
    scaled: list[int] = to_uint8(np.array([values], dtype), bits)[0].tolist()
    return scaled


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 200], [0, 100, 200]),  # 8 bits in a container of 16
        ([0, 512, 1023], [0, 128, 255]),
        ([0, 1024, 4095], [0, 64, 255]),
        ([0, 4096, 16383], [0, 64, 255]),
        ([1, 16384, 65535], [0, 64, 255]),
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_the_depth_of_a_camera_is_the_smallest_that_holds_the_maximum(
    values: list[float], expected: list[int]
) -> None:
    assert scale(values, np.uint16) == expected
    assert scale(values, ">u2") == expected


def test_an_8_bit_image_stretched_to_16_comes_back() -> None:
    for brightest in (1, 3, 60, 255):  # a dark one must not be taken for a shallow one
        image = np.arange(brightest + 1, dtype=np.uint8)[np.newaxis]
        np.testing.assert_array_equal(to_uint8(image * np.uint16(257), 16), image)


def test_a_declared_depth_is_believed() -> None:
    assert scale([0, 16, 160], np.uint16, bits=12) == [0, 1, 10]


@pytest.mark.parametrize(
    ("bits", "values", "expected"),
    [(1, [0, 1], [0, 255]), (2, [0, 1, 3], [0, 85, 255]), (4, [0, 1, 15], [0, 17, 255])],
)
def test_few_bits_fill_the_range(bits: int, values: list[float], expected: list[int]) -> None:
    assert scale(values, np.uint8, bits) == expected


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0.0, 0.5, 0.75], np.float32, [0, 128, 191]),
        ([0.0, 1.0, 2.0], np.float64, [0, 128, 255]),
        ([-1.0, 0.0, 1.0], np.float16, [0, 128, 255]),
        ([7.0, 7.0], np.float32, [0, 0]),
        ([-10, 0, 10], np.int16, [0, 128, 255]),
        ([0, 1000, 1023], np.int16, [0, 250, 255]),
        ([-128, 127], np.int8, [0, 255]),
        ([10, 20, 2**31], np.uint32, [0, 0, 255]),
    ],
)
def test_other_types_are_stretched(
    values: list[float], dtype: npt.DTypeLike, expected: list[int]
) -> None:
    assert scale(values, dtype, np.dtype(dtype).itemsize * 8) == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_number_are_refused(value: float) -> None:
    with pytest.raises(InvalidImage, match="finite"):
        scale([0.0, value], np.float32, bits=32)


def test_complex_samples_are_refused() -> None:
    with pytest.raises(InvalidImage, match="complex"):
        to_uint8(np.zeros((2, 2), np.complex64), 64)
