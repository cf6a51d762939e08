"""One small network, with weights in a file and converted once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deployments.inference.engines.graph_cache import Source, cached_graph
from deployments.inference.types import UInt8Array

SIDE = 64
IMPLEMENTATION = "deployments.inference.models:ResUNetSmall"


@dataclass(frozen=True)
class Converted:
    """A network, where its graph lies, and in which cache."""

    source: Source
    graph: Path
    cache: Path


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    import torch

    from deployments.inference import checkpoints
    from deployments.inference.networks.registry import get_network

    widths: dict[str, int | list[int]] = {"features": [4, 6]}
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    metadata = checkpoints.save(
        path,
        get_network("resunet_small").build(widths).state_dict(),
        checkpoints.WeightsMetadata(
            network="resunet_small", widths=widths, preset="imagenet", input_size=SIDE
        ),
    )
    return Source(IMPLEMENTATION, "imagenet", SIDE, path, metadata.sha256, {})


@pytest.fixture(scope="session")
def converted(source: Source, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    cache = tmp_path_factory.mktemp("cache")
    return Converted(source, cached_graph(source, cache), cache)


@pytest.fixture(scope="session")
def batch() -> UInt8Array:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8)
