"""Images that weights are calibrated on, and how far two answers to them agree. No torch here."""

import cv2
import numpy as np
import numpy.typing as npt

from deployments.inference.types import UInt8Array

IMAGES = 4
_FOREGROUND = 128


def calibration_images(side: int, count: int = IMAGES) -> UInt8Array:
    """Draw fields of dark round bodies on an uneven, noisy background.

    Args:
        side: Side S of the images in pixels.
        count: Number of images. Image n is the same for every count.

    Returns:
        uint8 (count, S, S, 3), grey.
    """
    return np.stack([_field(side, seed) for seed in range(count)])


def _field(side: int, seed: int) -> UInt8Array:
    rng = np.random.default_rng(seed)
    light = np.linspace(rng.uniform(0.6, 0.75), rng.uniform(0.75, 0.9), side, dtype=np.float32)
    field = np.tile(light, (side, 1))
    for _ in range(1 + 2 * seed):
        body = np.zeros((side, side), np.float32)
        centre = [int(value) for value in rng.uniform(0.2, 0.8, 2) * side]
        axes = [max(2, int(value)) for value in rng.uniform(0.06, 0.2, 2) * side]
        cv2.ellipse(body, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        soft = cv2.GaussianBlur(body, (0, 0), side / 200)
        texture = cv2.GaussianBlur(rng.normal(size=(side, side)).astype(np.float32), (0, 0), 2)
        field *= 1 - soft * (rng.uniform(0.4, 0.7) + texture)
    field += rng.normal(0, 0.01, field.shape)
    grey = np.clip(field * 255, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def mask_iou(expected: UInt8Array, found: UInt8Array) -> float:
    """Return the lowest IoU of the masks at probability 0.5; 1 where both are empty.

    Args:
        expected: uint8 (N, S, S) probability maps.
        found: uint8 (N, S, S) probability maps of the same images.
    """
    pairs = zip(expected >= _FOREGROUND, found >= _FOREGROUND, strict=True)
    return min(_iou(a, b) for a, b in pairs)


def _iou(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_]) -> float:
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 1.0
