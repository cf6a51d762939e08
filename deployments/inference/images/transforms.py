"""Presets: how a decoded image becomes the input of a network.

A preset belongs to the weights, not to the service: a network gives sensible output only for
the resampling and the normalisation that it was trained with. SpheroSeg changed both in
September 2025 and kept the names of its weight files.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from deployments.errors import ConfigurationError
from deployments.inference.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Preset:
    """Resampling on uint8, then ``(pixel / 255 - mean) / std`` per channel.

    The resampling happens in `resize`; the normalisation is left to the engine, which applies
    it on the device.

    Attributes:
        name: Name in models.yaml and in the metadata of weight files.
        resample: Pillow filter. Pillow widens its filters when it shrinks (antialiasing).
        mean: Mean of R, G and B on the scale 0..1.
        std: Standard deviation of R, G and B on the scale 0..1.
    """

    name: str
    resample: Image.Resampling
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def resize(self, image: UInt8Array, size: int) -> UInt8Array:
        """Resize uint8 (H, W, 3) to uint8 (size, size, 3). The aspect ratio is not kept."""
        if image.shape[:2] == (size, size):
            return image
        grey = _grey(image)
        if grey is None:
            return self._resize(image, size)
        # Three equal channels stay equal, so that resizing one does.
        resized = self._resize(grey, size)
        return np.asarray(cv2.merge((resized, resized, resized)), np.uint8)

    def _resize(self, image: UInt8Array, size: int) -> UInt8Array:
        return np.asarray(Image.fromarray(image).resize((size, size), self.resample))


def _grey(image: UInt8Array) -> UInt8Array | None:
    """The one channel (H, W) of an image whose three are equal, else None."""
    first = np.asarray(cv2.extractChannel(image, 0), np.uint8)
    others = (cv2.extractChannel(image, channel) for channel in (1, 2))
    return first if all(np.array_equal(first, other) for other in others) else None


PRESETS = {
    preset.name: preset
    for preset in (
        # Commit 32f51033: Lanczos, division by 255 alone.
        Preset("spheroseg-2025-08", Image.Resampling.LANCZOS, (0.0,) * 3, (1.0,) * 3),
        # Commit c150502a and later: torchvision's Resize and the statistics of ImageNet.
        Preset("imagenet", Image.Resampling.BILINEAR, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    )
}


def get_preset(name: str) -> Preset:
    """Return the preset of that name.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        return PRESETS[name]
    except KeyError:
        known = ", ".join(PRESETS)
        raise ConfigurationError(f"preset {name!r} is unknown; known are: {known}") from None
