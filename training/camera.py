"""Views a scene through a camera: framing, optics, sensor and file format.

Used on generated scenes and on real images alike. On real images it is the augmentation.
"""

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from training.fields import FloatArray, smooth_noise
from training.synthetic import Scene, UInt8Array


def frame(rng: np.random.Generator, scene: Scene, size: int, zoom: tuple[float, float]) -> Scene:
    """Cut a rotated, mirrored and scaled square out of a scene.

    What lies beyond the scene is its mirror image, in the mask as well.

    Args:
        rng: Source of randomness.
        scene: Any size.
        size: Side of the result in pixels.
        zoom: Smallest and largest share of the scene's side that the result shows. Drawn on a
            logarithmic scale.
    """
    height, width = scene.image.shape
    share = np.exp(rng.uniform(np.log(zoom[0]), np.log(zoom[1])))
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    turn = rng.choice(4) * np.pi / 2 + rng.choice([0.0, rng.uniform(-0.6, 0.6)])
    flip = rng.choice([-1.0, 1.0])
    scale = np.diag([share * width * stretch * flip, share * height / stretch]) / size
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation @ scale
    middle = np.array([width, height]) / 2
    slack = np.abs(1 - share) / 2
    middle += rng.uniform(-slack, slack, 2) * [width, height] + rng.uniform(-0.08, 0.08, 2) * width
    shift = middle - matrix @ np.array([size / 2, size / 2])
    affine = np.hstack([matrix, shift[:, None]])
    image = scene.image
    shrink = share * max(height, width) / size
    if shrink > 1.2:  # Nothing finer than an output pixel may remain, or it aliases.
        image = cv2.GaussianBlur(image, (0, 0), 0.4 * shrink)
    image, mask = (
        cv2.warpAffine(
            layer,
            affine,
            (size, size),
            flags=how | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        for layer, how in ((image, cv2.INTER_LINEAR), (scene.mask, cv2.INTER_NEAREST))
    )
    return Scene(np.asarray(image, dtype=np.uint8), np.asarray(mask, dtype=np.uint8))


def expose(rng: np.random.Generator, image: UInt8Array) -> UInt8Array:
    """Photograph a grey image.

    Args:
        rng: Source of randomness.
        image: uint8 (S, S), grey.

    Returns:
        uint8 (S, S, 3) RGB, grey or slightly tinted.
    """
    size = image.shape[0]
    light: FloatArray = image.astype(np.float32) / np.float32(255)
    if rng.random() < 0.35:
        light = cv2.GaussianBlur(light, (0, 0), rng.uniform(0.4, 2.2))
    if rng.random() < 0.3:
        light = _coarsen(light, rng.uniform(0.25, 0.8))
    if rng.random() < 0.3:
        light = light * (1 + rng.uniform(0.02, 0.12) * smooth_noise(rng, size, size / 2.5))
    light = np.clip(light, 0, 1.2) ** np.exp(rng.uniform(-0.5, 0.5))
    light = _stretch(rng, light)
    if rng.random() < 0.03:
        light = 1 - light
    if rng.random() < 0.6:
        grain = rng.standard_normal(light.shape, dtype=np.float32)
        if rng.random() < 0.4:
            grain = cv2.GaussianBlur(grain, (0, 0), 0.8) * 2
        light = light + rng.uniform(0.003, 0.05) * grain * np.sqrt(np.clip(light, 0.1, 1))
    colour: npt.NDArray[np.floating] = np.repeat(light[:, :, None], 3, axis=2)
    if rng.random() < 0.25:
        colour = colour * (1 + rng.uniform(-0.12, 0.12, 3))
    photo = np.clip(colour * 255, 0, 255).astype(np.uint8)
    return _compress(rng, photo) if rng.random() < 0.25 else photo


def _coarsen(light: FloatArray, scale: float) -> FloatArray:
    """Lose detail as an image of fewer pixels that was enlarged by Lanczos."""
    size = light.shape[0]
    small = max(48, round(size * scale))
    shrunk = cv2.resize(light, (small, small), interpolation=cv2.INTER_AREA)
    large = Image.fromarray(shrunk).resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(large, dtype=np.float32)


def _stretch(rng: np.random.Generator, light: FloatArray) -> FloatArray:
    """Change contrast and brightness; often so that the range is just used."""
    low, high = np.percentile(light[::4, ::4], [0.5, 99.5])
    if rng.random() < 0.3 and high - low > 0.1:
        return np.asarray((light - low) / (high - low), dtype=np.float32)
    middle = float(light.mean())
    gain, offset = np.exp(rng.uniform(-0.6, 0.4)), rng.uniform(-0.15, 0.15)
    moved = (light - middle) * gain + np.clip(middle + offset, 0.2, 0.9)
    return np.asarray(moved, dtype=np.float32)


def _compress(rng: np.random.Generator, photo: UInt8Array) -> UInt8Array:
    """Add the artefacts of JPEG."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))]
    _, encoded = cv2.imencode(".jpg", photo, quality)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
