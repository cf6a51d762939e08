"""Serves batches of real and generated images to the training loop."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from training.camera import expose, frame
from training.synthetic import Scene, UInt8Array, make_scene

FIELD = 512
"""Side in pixels at which the service runs the networks, and of every stored scene."""

VALIDATION_SEED = 10_000_000
"""Seeds from here on belong to validation; training scenes use those below."""

TEST_SEED = 20_000_000
"""Seeds from here on belong to tests."""


@dataclass(frozen=True, slots=True)
class Sample:
    """An image as the service hands it to a network, with its mask.

    Attributes:
        image: uint8 (S, S, 3) RGB.
        mask: uint8 (S, S), 0 or 1.
    """

    image: UInt8Array
    mask: UInt8Array


def read_pair(data: Path, name: str) -> tuple[Image.Image, UInt8Array]:
    """Return a real image in RGB and its mask, both at their original size.

    Args:
        data: Folder that holds ``<folder>/images`` and ``<folder>/masks``.
        name: "<folder>/<file name>".

    Returns:
        The image, and uint8 (H, W) of 0 and 1.
    """
    folder, file = name.split("/")
    with Image.open(data / folder / "images" / file) as image:
        rgb = image.convert("RGB")
    with Image.open(data / folder / "masks" / file) as mask:
        inside = np.asarray(mask.convert("L")) > 127
    return rgb, inside.astype(np.uint8)


def real_scene(data: Path, name: str) -> Scene:
    """Return a real image in grey at the field's size, resized as the service does."""
    image, mask = read_pair(data, name)
    grey = image.convert("L").resize((FIELD, FIELD), Image.Resampling.LANCZOS)
    share = Image.fromarray(mask * 255).resize((FIELD, FIELD), Image.Resampling.BILINEAR)
    return Scene(np.asarray(grey), (np.asarray(share) > 127).astype(np.uint8))


def generated_sample(seed: int, size: int = FIELD) -> Sample:
    """Return the generated photograph that belongs to a seed, full field."""
    scene = make_scene(seed, size)
    return Sample(expose(np.random.default_rng([seed, 1]), scene.image), scene.mask)


class Batches:
    """Draws training batches.

    Scenes are made once and kept; each time one is drawn, a new framing and a new exposure
    make another photograph of it.
    """

    def __init__(self, data: Path, names: list[str], generated: int, seed: int) -> None:
        """Read the real images and generate the scenes.

        Args:
            data: Folder of the real images.
            names: Real images to train on.
            generated: Number of generated scenes.
            seed: Of the draws, not of the scenes.
        """
        self._folders: dict[str, list[Scene]] = {}
        for name in names:
            self._folders.setdefault(name.split("/")[0], []).append(real_scene(data, name))
        self._generated = [make_scene(index) for index in range(generated)]
        self._rng = np.random.default_rng(seed)

    def draw(self, count: int, size: int, real: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch.

        Args:
            count: Images per batch.
            size: Side of the images in pixels.
            real: Share of real images; each folder of them has an equal part.

        Returns:
            float32 (N, 3, S, S) in 0..1 and float32 (N, 1, S, S) of 0 and 1.
        """
        samples = [self._one(size, real) for _ in range(count)]
        return to_tensor([s.image for s in samples]), torch.stack(
            [torch.from_numpy(s.mask).float()[None] for s in samples]
        )

    def _one(self, size: int, real: float) -> Sample:
        rng = self._rng
        if rng.random() < real:
            folder = sorted(self._folders)[rng.integers(len(self._folders))]
            pool, zoom = self._folders[folder], (0.35, 1.25)
        else:
            pool, zoom = self._generated, (0.45, 1.15)
        framed = frame(rng, pool[rng.integers(len(pool))], size, zoom)
        return Sample(expose(rng, framed.image), framed.mask)


def to_tensor(images: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """Stack uint8 (S, S, 3) images to float32 (N, 3, S, S) in 0..1.

    This is the normalisation of the preset ``spheroseg-2025-08``.
    """
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return stacked.float().div(255).contiguous()
