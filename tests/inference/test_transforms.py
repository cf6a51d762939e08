"""Presets."""

import numpy as np
import pytest
from PIL import Image

from deployments.errors import ConfigurationError
from deployments.inference.images.transforms import PRESETS, get_preset
from deployments.inference.types import UInt8Array

IMAGE = np.random.default_rng(3).integers(0, 256, (60, 90, 3), np.uint8)
GREY = np.repeat(IMAGE[..., :1], 3, axis=2)
GREY_BUT_FOR_A_PIXEL = GREY.copy()
GREY_BUT_FOR_A_PIXEL[2, 3, 2] ^= 128


@pytest.mark.parametrize(
    ("name", "resample"),
    [("spheroseg-2025-08", Image.Resampling.LANCZOS), ("imagenet", Image.Resampling.BILINEAR)],
)
@pytest.mark.parametrize("image", [IMAGE, GREY, GREY_BUT_FOR_A_PIXEL])
@pytest.mark.parametrize("size", [32, 128])
def test_resize_fills_the_square_with_the_filter_of_the_preset(
    name: str, resample: Image.Resampling, image: UInt8Array, size: int
) -> None:
    resized = get_preset(name).resize(image, size)
    expected = np.asarray(Image.fromarray(image).resize((size, size), resample))
    np.testing.assert_array_equal(resized, expected)


def test_resize_keeps_an_image_of_the_right_size() -> None:
    square = IMAGE[:60, :60]
    np.testing.assert_array_equal(get_preset("imagenet").resize(square, 60), square)


def test_normalisation_of_the_presets() -> None:
    white = {
        name: (1 - np.array(preset.mean)) / np.array(preset.std) for name, preset in PRESETS.items()
    }
    np.testing.assert_allclose(white["spheroseg-2025-08"], [1, 1, 1])
    np.testing.assert_allclose(white["imagenet"], [2.2489, 2.4286, 2.64], atol=1e-4)


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'imagenet-2'.*imagenet"):
        get_preset("imagenet-2")
