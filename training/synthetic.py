"""A procedural generator of transmitted-light images of spheroids, with exact masks.

Intensities multiply, as light does on its way through a sample: an image is the background
times the transmission of each body. A value above 1 is light that a border refracts into a
pixel. The camera comes afterwards (``training/camera.py``).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from training.fields import BoolArray, FloatArray, outline, signed_distance, smooth_noise

UInt8Array = npt.NDArray[np.uint8]

MIN_RADIUS = 9.0
"""Pixels of a 512-pixel field. Smaller bodies are debris, not spheroids."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One field of view, before the camera.

    Attributes:
        image: uint8 (S, S), grey.
        mask: uint8 (S, S), 1 inside a spheroid and 0 elsewhere.
    """

    image: UInt8Array
    mask: UInt8Array


def make_scene(seed: int, size: int = 512) -> Scene:
    """Return the scene that belongs to a seed.

    Args:
        seed: Any non-negative integer; equal seeds give equal scenes.
        size: Side in pixels.
    """
    rng = np.random.default_rng(seed)
    light = _background(rng, size)
    mask = np.zeros((size, size), dtype=bool)
    _add_debris(rng, light, mask)
    bright = rng.random() < 0.12
    style = rng.choice(len(_STYLES))
    for radius in _radii(rng, size):
        if rng.random() < 0.25:
            style = rng.choice(len(_STYLES))
        body = _body(rng, size, radius)
        # A gap keeps two spheroids apart in the mask as they are in the image.
        if (cv2.dilate(body.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & mask).any():
            continue
        light *= _transmission(rng, body, _STYLES[style], bright)
        mask |= body
    if rng.random() < 0.5:
        _add_debris(rng, light, mask)
    if rng.random() < 0.3:
        _add_fibres(rng, light, mask)
    _add_bubbles(rng, light, mask)
    image = np.clip(light * 255, 0, 255).astype(np.uint8)
    return Scene(image, mask.astype(np.uint8))


def _radii(rng: np.random.Generator, size: int) -> FloatArray:
    """Draw how many spheroids a field has, and their radii: largest first."""
    kind = rng.choice(["none", "one", "few", "many"], p=[0.07, 0.55, 0.23, 0.15])
    count, low, high = {
        "none": (0, 1.0, 2.0),
        "one": (1, 0.05, 0.42),
        "few": (int(rng.integers(2, 6)), 0.03, 0.2),
        "many": (int(rng.integers(5, 22)), 0.018, 0.09),
    }[str(kind)]
    radii = size * np.exp(rng.uniform(np.log(low), np.log(high), count))
    return np.sort(np.maximum(radii, MIN_RADIUS * size / 512))[::-1].astype(np.float32)


def _body(rng: np.random.Generator, size: int, radius: float) -> BoolArray:
    """Draw one spheroid: round, elongated, bumpy, or grown together from several."""
    margin = radius * rng.choice([1.1, 0.2], p=[0.85, 0.15])
    low, high = min(margin, size / 2), max(size - margin, size / 2)
    centre = (float(rng.uniform(low, high + 1)), float(rng.uniform(low, high + 1)))
    roughness, bumps = rng.choice([0.03, 0.1, 0.3]), rng.choice([0.0, 0.012, 0.03])
    lobes = 1 if rng.random() < 0.75 else int(rng.integers(2, 6))
    canvas = np.zeros((size, size), dtype=np.uint8)
    for lobe in range(lobes):
        own = radius if lobe == 0 else radius * rng.uniform(0.35, 0.9)
        shape = outline(rng, centre, own, roughness, bumps, rng.uniform(0.65, 1.0))
        cv2.fillPoly(canvas, [shape], 1)
        turn = rng.uniform(0, 2 * np.pi)
        centre = (centre[0] + own * np.cos(turn), centre[1] + own * np.sin(turn))
    return canvas.astype(bool)


@dataclass(frozen=True, slots=True)
class _Style:
    """How a kind of spheroid lets light through. Ranges are uniform (low, high).

    Attributes:
        border: Transmission just inside the border.
        core: Transmission at full depth.
        depth: Depth, relative to the radius, at which the core begins.
        grain: Amplitude of the texture of cells.
        rim: Change of transmission of a narrow line along the border.
        halo: Change of transmission of a ring outside the border.
    """

    border: tuple[float, float]
    core: tuple[float, float]
    depth: tuple[float, float]
    grain: tuple[float, float]
    rim: tuple[float, float]
    halo: tuple[float, float]


_STYLES = (
    # Opaque: thick, compact spheroids that grow dark towards the middle.
    _Style((0.45, 0.8), (0.03, 0.3), (0.3, 1.0), (0.02, 0.12), (-0.1, 0.1), (-0.05, 0.15)),
    # Translucent: a dark outline around cells as bright as the background.
    _Style((0.7, 0.95), (0.7, 1.02), (0.4, 1.0), (0.08, 0.25), (-0.6, -0.25), (-0.08, 0.12)),
    # Even grey.
    _Style((0.4, 0.8), (0.4, 0.8), (0.5, 1.0), (0.02, 0.15), (-0.25, 0.1), (-0.05, 0.15)),
    # Necrotic: a lighter shell around a dark core with a visible limit.
    _Style((0.65, 0.85), (0.15, 0.5), (0.15, 0.5), (0.04, 0.15), (-0.3, 0.1), (-0.05, 0.2)),
    # Hollow: a dark shell around a lighter core.
    _Style((0.25, 0.6), (0.6, 0.95), (0.2, 0.6), (0.04, 0.15), (-0.2, 0.05), (-0.05, 0.2)),
    # Loose aggregates of cells, coarse and of high contrast.
    _Style((0.6, 0.9), (0.35, 0.75), (0.5, 1.0), (0.15, 0.35), (-0.3, 0.0), (-0.05, 0.15)),
)


def _transmission(
    rng: np.random.Generator, body: BoolArray, style: _Style, bright: bool
) -> FloatArray:
    """Return the factor by which a body changes the light, float32 (S, S)."""
    size = body.shape[0]
    distance = signed_distance(body)
    radius = max(float(distance.max()), 2.0)
    depth = np.clip(distance / (radius * rng.uniform(*style.depth)), 0, 1)
    steepness = rng.uniform(0.6, 2.5)
    border, core = rng.uniform(*style.border), rng.uniform(*style.core)
    inner = border + (core - border) * depth**steepness
    grain = rng.uniform(1.5, max(2.5, min(12.0, radius / 4)))
    cells = smooth_noise(rng, size, grain) + 0.6 * smooth_noise(rng, size, grain * 3)
    inner += rng.uniform(*style.grain) * cells * (0.35 + 0.65 * np.clip(inner, 0, 1))
    width = rng.uniform(1.0, max(2.0, min(5.0, radius / 6)))
    inner += rng.uniform(*style.rim) * np.exp(-(((distance - width) / width) ** 2))
    inner = np.clip(inner, 0.02, 1.25)
    reach = rng.uniform(2.0, max(3.0, min(16.0, radius / 3)))
    outer = 1 + rng.uniform(*style.halo) * np.exp(np.minimum(distance, 0) / reach)
    softness = rng.choice([0.5, 1.0, 2.0, 3.5], p=[0.3, 0.35, 0.25, 0.1])
    cover = 1 / (1 + np.exp(-np.clip(distance / min(softness, radius / 6), -30, 30)))
    factor = outer + (inner - outer) * cover
    if bright:
        # Quantitative phase and positive phase contrast show the body brighter than the field.
        factor = 1 + 0.9 * (1 - factor)
    return np.asarray(factor, dtype=np.float32)


def _background(rng: np.random.Generator, size: int) -> FloatArray:
    """Return the empty field: uneven lighting, gel, wells and bands."""
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    light = np.full((size, size), rng.uniform(0.35, 0.92), dtype=np.float32)
    light *= 1 + rng.uniform(0, 0.05) * smooth_noise(rng, size, size / rng.uniform(2, 5))
    light *= 1 + rng.uniform(0, 0.03) * smooth_noise(rng, size, rng.uniform(15, 60))
    light *= 1 + rng.choice([0, 0.01, 0.03]) * smooth_noise(rng, size, rng.uniform(2, 6))
    turn = rng.uniform(0, 2 * np.pi)
    along = xs * np.cos(turn) + ys * np.sin(turn)
    light *= 1 + rng.uniform(0, 0.3) * along
    radius = np.hypot(xs - rng.uniform(-0.1, 0.1), ys - rng.uniform(-0.1, 0.1))
    light *= 1 - rng.choice([0, rng.uniform(0, 0.8)]) * radius**2
    if rng.random() < 0.2:  # The wall of a round well.
        edge = (radius - rng.uniform(0.42, 0.62)) / rng.uniform(0.005, 0.08)
        light *= 1 - rng.uniform(0.2, 0.9) / (1 + np.exp(-np.clip(edge, -30, 30)))
    if rng.random() < 0.2:  # A scratch or fold of the plate, out of focus.
        band = np.exp(-(((along - rng.uniform(-0.5, 0.5)) / rng.uniform(0.01, 0.05)) ** 2))
        light *= 1 + rng.uniform(-0.2, 0.12) * band
    return np.asarray(light, dtype=np.float32)


def _add_debris(rng: np.random.Generator, light: FloatArray, mask: BoolArray) -> None:
    """Add single cells, dead cells and dust outside the spheroids, in place."""
    size = light.shape[0]
    amounts = [0, int(rng.integers(1, 15)), int(rng.integers(15, 120))]
    count = int(rng.choice(amounts, p=[0.3, 0.45, 0.25]))
    layer = np.zeros_like(light)
    spread = rng.choice([0.08, 0.5])
    middle = rng.uniform(0.1, 0.9, 2) * size
    for _ in range(count):
        x, y = (middle + rng.normal(0, spread, 2) * size).astype(int)
        radius = int(np.clip(rng.lognormal(0.9, 0.5) * size / 512, 1, 7))
        if rng.random() < 0.5:
            cv2.circle(layer, (x, y), radius, float(rng.uniform(-0.7, -0.15)), -1, cv2.LINE_AA)
        else:  # A living cell: a bright middle with a dark outline.
            cv2.circle(layer, (x, y), radius, float(rng.uniform(0.05, 0.3)), -1, cv2.LINE_AA)
            cv2.circle(layer, (x, y), radius, float(rng.uniform(-0.5, -0.15)), 1, cv2.LINE_AA)
    for _ in range(int(rng.choice([0, int(rng.integers(1, 5))], p=[0.7, 0.3]))):  # Out of focus.
        x, y = rng.integers(0, size, 2)
        spot = np.zeros_like(light)
        cv2.circle(spot, (int(x), int(y)), int(rng.uniform(4, 14)), 1.0, -1)
        layer -= rng.uniform(0.05, 0.25) * cv2.GaussianBlur(spot, (0, 0), rng.uniform(5, 10))
    layer = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 1.2))
    light *= np.where(mask, 1, 1 + layer)


def _add_fibres(rng: np.random.Generator, light: FloatArray, mask: BoolArray) -> None:
    """Add thin dark fibres and scratches, in place; they may cross a spheroid."""
    size = light.shape[0]
    layer = np.zeros_like(light)
    for _ in range(int(rng.integers(1, 6))):
        start, heading = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
        headings = heading + np.cumsum(rng.normal(0, 0.12, 40))
        step = rng.uniform(1, 8)
        steps = np.stack([np.cos(headings), np.sin(headings)], -1).cumsum(0) * step
        points = (start + steps).round().astype(np.int32)[:, None, :]
        cv2.polylines(
            layer,
            [points],
            False,
            float(rng.uniform(-0.6, -0.1)),
            int(rng.integers(1, 4)),
            cv2.LINE_AA,
        )
    layer = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 1.5))
    light *= 1 + layer * np.where(mask, 0.4, 1.0)


def _add_bubbles(rng: np.random.Generator, light: FloatArray, mask: BoolArray) -> None:
    """Add air bubbles in place: perfect circles, thick dark wall, smooth bright middle."""
    size = light.shape[0]
    for _ in range(int(rng.choice([0, int(rng.integers(1, 4))], p=[0.85, 0.15]))):
        radius = float(np.exp(rng.uniform(np.log(8), np.log(60))))
        x, y = rng.uniform(0, size, 2)
        ys, xs = np.ogrid[0:size, 0:size]
        away = np.hypot(xs - x, ys - y)
        if mask[away < radius * 1.3].any():
            continue
        wall = np.exp(-(((away - radius * 0.85) / (radius * rng.uniform(0.08, 0.2))) ** 2))
        glow = np.exp(-((away / (radius * 0.5)) ** 2))
        light *= 1 - rng.uniform(0.4, 0.85) * wall + rng.uniform(0, 0.25) * glow
