"""From a configuration to a network on its device."""

import logging
import os
from dataclasses import dataclass

import torch

from deployments.config import ModelSpec, Tunables
from deployments.errors import WeightsError
from deployments.inference import checkpoints
from deployments.inference.engines.base import Engine
from deployments.inference.engines.torch_engine import TorchEngine
from deployments.inference.images.transforms import get_preset
from deployments.inference.models import resolve_model
from deployments.inference.types import UNTRAINED

log = logging.getLogger(__name__)

# Untrained networks of one configuration are equal everywhere, so that their output is.
_SEED = 0


@dataclass(frozen=True)
class LoadedModel:
    """A network on its device, and where its weights came from.

    Attributes:
        engine: Runs it.
        weights: Name of the weight file, or ``untrained weights``.
        sha256: Digest of the weights, None for an untrained network.
    """

    engine: Engine
    weights: str
    sha256: str | None

    def describe(self) -> dict[str, object]:
        """JSON-ready facts for /api/v1/models."""
        return {
            "device": self.engine.device,
            "device_name": self.engine.device_name,
            "weights": self.weights,
            "weights_sha256": self.sha256,
        }


def load_model(spec: ModelSpec, tunables: Tunables, device: str) -> LoadedModel:
    """Build the network, load its weights and put it on the device.

    Raises:
        ConfigurationError: The implementation, widths, input size or preset do not work.
        WeightsError: The weight file is missing or does not fit.
    """
    model = resolve_model(spec.implementation)
    path = tunables.weights_path
    threads = spec.threads or os.cpu_count() or 1
    if path is None:
        log.warning("%s serves %s", spec.implementation, UNTRAINED)
        torch.manual_seed(_SEED)
        network = model.build(tunables.widths, spec.input_size)
        name, digest = UNTRAINED, None
    else:
        metadata = checkpoints.read_metadata(path)
        if metadata.preset != spec.preset:
            raise WeightsError(
                f"{path.name} was trained with preset '{metadata.preset}', "
                f"but models.yaml says '{spec.preset}'"
            )
        with torch.device("meta"):
            network = model.build(metadata.widths, spec.input_size)
        checkpoints.load(path, network)
        name, digest = path.name, metadata.sha256
    engine = TorchEngine(network, get_preset(spec.preset), device, threads)
    return LoadedModel(engine=engine, weights=name, sha256=digest)
