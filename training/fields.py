"""Random fields and shapes from which the generator composes an image."""

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def smooth_noise(rng: np.random.Generator, size: int, grain: float) -> FloatArray:
    """Return noise whose grains are about ``grain`` pixels wide.

    Args:
        rng: Source of randomness.
        size: Side of the field in pixels.
        grain: Width of a grain in pixels, at least 1.

    Returns:
        float32 (size, size), mean about 0 and standard deviation 1.
    """
    coarse = max(4, round(size / grain) + 3)
    field = rng.standard_normal((coarse, coarse), dtype=np.float32)
    side = max(size, round(coarse * grain))
    field = cv2.resize(field, (side, side), interpolation=cv2.INTER_CUBIC)[:size, :size]
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), dtype=np.float32)


def outline(
    rng: np.random.Generator,
    centre: tuple[float, float],
    radius: float,
    roughness: float,
    bumps: float,
    aspect: float,
) -> npt.NDArray[np.int32]:
    """Return the outline of one closed, star-shaped body.

    The radius is a Fourier series over the angle. Low orders make the shape, high orders the
    single cells that stand out at the border.

    Args:
        rng: Source of randomness.
        centre: x and y in pixels.
        radius: Mean radius in pixels.
        roughness: Relative amplitude of orders 2 to 7.
        bumps: Relative amplitude of orders 8 to 40.
        aspect: Short axis divided by long axis.

    Returns:
        int32 (points, 1, 2), x before y.
    """
    angle = np.linspace(0, 2 * np.pi, max(48, int(radius * 3)), endpoint=False)
    profile = np.ones_like(angle)
    for first, last, amplitude in ((2, 7, roughness), (8, 40, bumps)):
        orders = np.arange(first, last + 1)
        weight = 1.0 / orders if first == 2 else np.ones(orders.size) / np.sqrt(orders.size)
        scale = amplitude * weight * rng.standard_normal(orders.size)
        phase = rng.uniform(0, 2 * np.pi, orders.size)
        profile += (scale[:, None] * np.cos(orders[:, None] * angle + phase[:, None])).sum(0)
    reach = radius * np.clip(profile, 0.3, 2.0)
    x, y = reach * np.cos(angle) / np.sqrt(aspect), reach * np.sin(angle) * np.sqrt(aspect)
    turn = rng.uniform(0, 2 * np.pi)
    points = np.stack(
        [
            centre[0] + x * np.cos(turn) - y * np.sin(turn),
            centre[1] + x * np.sin(turn) + y * np.cos(turn),
        ],
        axis=-1,
    )
    return points.round().astype(np.int32)[:, None, :]


def signed_distance(inside: BoolArray) -> FloatArray:
    """Return the distance to the border in pixels, positive inside.

    The border of the frame is not a border of the body: a body cut by the frame keeps its
    depth there.

    Args:
        inside: bool (H, W).

    Returns:
        float32 (H, W).
    """
    body = inside.astype(np.uint8)
    depth = cv2.distanceTransform(body, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - body, cv2.DIST_L2, 3)
    return np.asarray(np.where(inside, depth - 0.5, 0.5 - outside), dtype=np.float32)
