"""What a model is to the service: three functions around a network.

A model that is not one of ours needs a class with these methods and an entry in models.yaml
that names it (docs/add-a-model.md).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from deployments.inference.types import Polygons, UInt8Array

if TYPE_CHECKING:
    from torch import nn


class SegmentationModel(Protocol):
    """One kind of model. Instances are created without arguments and hold no state."""

    def build(self, widths: Mapping[str, object], input_size: int) -> "nn.Module":
        """Return the network, untrained.

        Called on the model replica, under ``torch.device("meta")`` where weights follow. The
        network maps float32 (N, 3, S, S), normalised by the model's preset, to logits
        (N, 1, S, S).

        Args:
            widths: Width parameters, from the weight file or models.yaml; none are the
                reference widths.
            input_size: The side S in pixels that it will be given.

        Raises:
            ConfigurationError: The widths make no network, or it cannot take that size.
        """
        ...

    def preprocess(self, image: UInt8Array, input_size: int, preset: str) -> UInt8Array:
        """Bring a decoded image to the model's input size.

        Called in a child process of the ingress: uint8 (H, W, 3) RGB to uint8 (S, S, 3).
        """
        ...

    def postprocess(
        self,
        probability: UInt8Array,
        width: int,
        height: int,
        threshold: float,
        detect_holes: bool,
    ) -> Polygons:
        """Turn a probability map into polygons in original pixels.

        Called in a child process of the ingress.

        Args:
            probability: uint8 (S, S), 255 = probability 1.
            width: Width of the original image in pixels.
            height: Height of the original image in pixels.
            threshold: A pixel is foreground where its probability is above it.
            detect_holes: Whether holes are reported as polygons of their own.
        """
        ...
