"""The two functions that run in child processes, before and after the device call."""

from functools import cache

import cv2

from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.reader import read_image
from deployments.inference.models import resolve_model
from deployments.inference.types import Polygons, PreparedImage, UInt8Array

_model = cache(resolve_model)


def prepare(
    data: bytes, model: str, input_size: int, preset: str, limits: ImageLimits
) -> PreparedImage:
    """Decode an uploaded file and bring it to the model's input size.

    Args:
        data: The bytes of the file.
        model: Import path of the model class, ``package.module:Class``.
        input_size: Side S of the model's input in pixels.
        preset: Name of the model's preset.
        limits: What the file may unpack to.

    Raises:
        InvalidImage: The bytes are no image we can decode.
        ImageTooLarge: The image exceeds the limits.
    """
    _use_one_thread()
    image = read_image(data, limits)
    height, width = image.shape[:2]
    pixels = _model(model).preprocess(image, input_size, preset)
    return PreparedImage(pixels=pixels, width=width, height=height)


def finish(
    probability: UInt8Array,
    model: str,
    width: int,
    height: int,
    threshold: float,
    detect_holes: bool,
) -> Polygons:
    """Turn a probability map into polygons in original pixels.

    Args:
        probability: uint8 (S, S), 255 = probability 1.
        model: Import path of the model class, ``package.module:Class``.
        width: Width of the original image in pixels.
        height: Height of the original image in pixels.
        threshold: A pixel is foreground where its probability is above it.
        detect_holes: Whether holes are reported as polygons of their own.
    """
    _use_one_thread()
    return _model(model).postprocess(probability, width, height, threshold, detect_holes)


@cache
def _use_one_thread() -> None:
    """Keep OpenCV to one thread: parallelism comes from the number of child processes."""
    cv2.setNumThreads(1)
