"""Images with known contents, for tests that send one."""

import io

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

UInt8Array = npt.NDArray[np.uint8]


def spheroid(seed: int = 1, width: int = 600, height: int = 450) -> tuple[UInt8Array, UInt8Array]:
    """A dark round body on a bright, noisy field: RGB image and 0/1 mask, both (height, width)."""
    rng = np.random.default_rng(seed)
    centre = (width / 2 + rng.uniform(-40, 40), height / 2 + rng.uniform(-30, 30))
    radius = rng.uniform(0.2, 0.3) * height
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(columns - centre[0], rows - centre[1]) - radius
    light = 190 - 110 / (1 + np.exp(distance / 2)) + rng.normal(0, 4, (height, width))
    grey = cv2.GaussianBlur(light.clip(0, 255).astype(np.uint8), (5, 5), 1)
    return np.repeat(grey[..., None], 3, axis=2), (distance <= 0).astype(np.uint8)


def encoded(image: UInt8Array, kind: str = "PNG") -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def painted(polygons: list[dict[str, object]], shape: tuple[int, int]) -> UInt8Array:
    """The mask that the polygons of an answer describe: externals minus internals."""
    mask = np.zeros(shape, np.uint8)
    for kind, value in (("external", 1), ("internal", 0)):
        for polygon in polygons:
            if polygon["type"] == kind:
                points = [[point["x"], point["y"]] for point in polygon["points"]]  # type: ignore[attr-defined]
                cv2.fillPoly(mask, [np.round(points).astype(np.int32)], value)
    return mask


def dice(a: UInt8Array, b: UInt8Array) -> float:
    """Overlap of two 0/1 masks, 1 for equal ones."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
