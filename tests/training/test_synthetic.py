import numpy as np
import pytest

from training.camera import expose, frame
from training.synthetic import make_scene


def test_a_seed_is_a_scene() -> None:
    first, again, other = make_scene(5), make_scene(5), make_scene(6)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


def test_masks_are_where_the_image_changes() -> None:
    """The image has more edges along the outline of the mask than elsewhere."""
    ratios = []
    for seed in range(12):
        scene = make_scene(seed, 256)
        rows, columns = np.gradient(scene.image.astype(float))
        edges = np.hypot(rows, columns)
        outline = np.hypot(*np.gradient(scene.mask.astype(float))) > 0
        if outline.any():
            ratios.append(edges[outline].mean() / edges[~outline].mean())
    assert len(ratios) > 6
    assert np.median(ratios) > 2


@pytest.mark.parametrize("size", [128, 256])
def test_framing_moves_image_and_mask_together(size: int) -> None:
    rng = np.random.default_rng(3)
    scene = make_scene(4)
    marked = type(scene)(image=(scene.mask * 255).astype(np.uint8), mask=scene.mask)
    framed = frame(rng, marked, size, (0.5, 0.9))
    assert framed.image.shape == framed.mask.shape == (size, size)
    # An image that is its own mask stays so, but for pixels on the outline.
    assert ((framed.image > 127) == framed.mask.astype(bool)).mean() > 0.98


def test_a_photograph_is_rgb_and_depends_on_the_seed() -> None:
    scene = make_scene(1, 128)
    first = expose(np.random.default_rng(1), scene.image)
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, expose(np.random.default_rng(1), scene.image))
    assert not np.array_equal(first, expose(np.random.default_rng(2), scene.image))
