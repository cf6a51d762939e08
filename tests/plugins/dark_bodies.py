"""A fourth model that is not part of the package: brightness below a learnt level."""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import nn

from deployments.errors import ConfigurationError
from deployments.inference.polygons import extract_polygons
from deployments.inference.types import Polygons, UInt8Array


class Darkness(nn.Module):
    """Logits from brightness alone, steep around one level."""

    def __init__(self, steepness: int) -> None:
        super().__init__()
        self.steepness = steepness

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, S, S) in [0, 1] to logits (N, 1, S, S)."""
        return self.steepness * (0.5 - images.mean(dim=1, keepdim=True))


class DarkBodies:
    """Implements ``deployments.inference.model.SegmentationModel``."""

    def build(self, widths: Mapping[str, object], input_size: int) -> nn.Module:
        """Return the network; ``widths`` is what models.yaml says."""
        steepness = widths.get("steepness")
        if not isinstance(steepness, int):
            raise ConfigurationError("widths of DarkBodies: steepness is missing")
        return Darkness(steepness)

    def preprocess(self, image: UInt8Array, input_size: int, preset: str) -> UInt8Array:
        """Resize without regard to aspect."""
        return np.asarray(Image.fromarray(image).resize((input_size, input_size)))

    def postprocess(
        self, probability: UInt8Array, width: int, height: int, threshold: float, detect_holes: bool
    ) -> Polygons:
        """Use the service's own outlines."""
        return extract_polygons(probability, width, height, threshold, detect_holes)
