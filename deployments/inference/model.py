"""What a model is to the service: three functions around a network.

A model that is not one of ours needs a class with these methods and an entry in models.yaml
that names it (docs/add-a-model.md).
"""

from typing import TYPE_CHECKING, Protocol

from deployments.inference.types import Polygons, UInt8Array

if TYPE_CHECKING:
    from torch import nn


class SegmentationModel(Protocol):
    """One kind of model. Instances are created without arguments and hold no state."""

    def build(self, widths: dict[str, object]) -> "nn.Module":
        """Return the network, untrained, in the widths of models.yaml.

        Called on the model replica, under ``torch.device("meta")``. The network maps float32
        (N, 3, S, S), normalised by the model's preset, to logits (N, 1, S, S).

        Raises:
            ConfigurationError: The widths do not make a network.
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
