"""A network with its weights, in torch."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from deployments.errors import ConfigurationError, WeightsError
from deployments.inference import checkpoints
from deployments.inference.models import resolve_model

# Untrained networks of one configuration are equal everywhere, so that their output is.
_SEED = 0


def build_network(
    implementation: str,
    input_size: int,
    weights: Path | None,
    widths: Mapping[str, object],
) -> nn.Module:
    """Build the network of a model on the CPU.

    Args:
        implementation: Import path of the model class.
        input_size: Side S in pixels.
        weights: The weight file, which brings its own widths; None for an untrained network.
        widths: Widths of an untrained network.

    Raises:
        ConfigurationError: The implementation, widths or input size do not work.
        WeightsError: The weight file is missing or does not fit.
    """
    model = resolve_model(implementation)
    if weights is None:
        torch.manual_seed(_SEED)
        return model.build(widths, input_size)
    metadata = checkpoints.read_metadata(weights)
    try:
        with torch.device("meta"):
            network = model.build(metadata.widths, input_size)
    except ConfigurationError as error:
        raise WeightsError(
            f"{weights.name} holds weights of {metadata.network}: {error}"
        ) from error
    checkpoints.load(weights, network)
    return network
