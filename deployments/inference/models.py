"""The models that come with the service: one class per network, all with the same pre- and
post-processing.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from deployments.errors import ConfigurationError
from deployments.inference.images.transforms import get_preset
from deployments.inference.model import SegmentationModel
from deployments.inference.polygons import extract_polygons
from deployments.inference.types import Polygons, UInt8Array

if TYPE_CHECKING:
    from torch import nn


def resolve_model(implementation: str) -> SegmentationModel:
    """Import a model class and return an instance.

    Args:
        implementation: ``package.module:Class``.

    Raises:
        ConfigurationError: There is no such class, or it takes arguments.
    """
    module_name, _, class_name = implementation.partition(":")
    try:
        model: SegmentationModel = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"model '{implementation}' cannot be loaded: {error}") from error
    return model


class SpheroidModel:
    """`SegmentationModel` for one network of the registry."""

    network: ClassVar[str]

    def build(self, widths: Mapping[str, object], input_size: int) -> "nn.Module":
        """Return the untrained network (see `SegmentationModel.build`)."""
        # Child processes import this module too, and must not pay for torch.
        from deployments.inference.networks import registry

        registry.check_input_size(self.network, input_size, widths)
        return registry.get_network(self.network).build(widths)

    def preprocess(self, image: UInt8Array, input_size: int, preset: str) -> UInt8Array:
        """Resize as the preset says (see `SegmentationModel.preprocess`)."""
        return get_preset(preset).resize(image, input_size)

    def postprocess(
        self,
        probability: UInt8Array,
        width: int,
        height: int,
        threshold: float,
        detect_holes: bool,
    ) -> Polygons:
        """Outline the spheroids (see `SegmentationModel.postprocess`)."""
        return extract_polygons(probability, width, height, threshold, detect_holes)


class HRNet(SpheroidModel):
    """HRNetV2."""

    network = "hrnet"


class ResUNetSmall(SpheroidModel):
    """ResUNet Small."""

    network = "resunet_small"


class ResUNetAdvanced(SpheroidModel):
    """Advanced ResUNet."""

    network = "resunet_advanced"
