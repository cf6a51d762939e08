"""From a configuration to a network on its device.

Torch is imported only where it is needed: a replica whose OpenVINO graph is on disk runs
without it.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from deployments.config import EngineName, ModelSpec, Tunables
from deployments.errors import ConfigurationError, WeightsError
from deployments.inference.engines.base import Engine
from deployments.inference.engines.graph_cache import Source, cache_directory, cached_graph
from deployments.inference.engines.precision import choose_precision
from deployments.inference.engines.processors import usable_cpus
from deployments.inference.images.transforms import get_preset
from deployments.inference.models import SpheroidModel
from deployments.inference.types import UNTRAINED
from deployments.inference.weights_metadata import WeightsMetadata, read_metadata

log = logging.getLogger(__name__)


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
            "engine": self.engine.name,
            "precision": self.engine.precision,
            "weights": self.weights,
            "weights_sha256": self.sha256,
        }


def load_model(spec: ModelSpec, tunables: Tunables, device: str) -> LoadedModel:
    """Build the network, load its weights and put it on the device.

    Raises:
        ConfigurationError: The implementation, widths, input size, preset, engine or precision
            do not work.
        WeightsError: The weight file is missing or does not fit.
    """
    path = tunables.weights_path
    metadata = _checked_metadata(path, spec.preset) if path is not None else None
    if metadata is None:
        log.warning("%s serves %s", spec.implementation, UNTRAINED)
    source = Source(
        implementation=spec.implementation,
        preset=spec.preset,
        input_size=spec.input_size,
        weights=path,
        sha256=metadata.sha256 if metadata else None,
        widths=tunables.widths,
    )
    calibration = metadata.calibration if metadata else {}
    started = time.monotonic()
    engine = _make_engine(spec, source, calibration, device)
    log.info("%s on %s in %.2f s", spec.implementation, device, time.monotonic() - started)
    return LoadedModel(
        engine=engine,
        weights=path.name if path is not None else UNTRAINED,
        sha256=source.sha256,
    )


def choose_engine(requested: EngineName, implementation: str, device: str) -> EngineName:
    """Return ``openvino`` or ``torch``.

    Args:
        requested: What models.yaml says. ``auto`` takes OpenVINO on the CPU for the networks
            that come with us. A network of somebody else runs in torch unless OpenVINO is
            named: conversion records one path through its code, and cannot see other ones.
        implementation: Import path of the model class.
        device: Where the network will run.

    Raises:
        ConfigurationError: OpenVINO is named for a GPU.
    """
    on_gpu = device != "cpu"
    if requested == "auto":
        # Told by the path: a subclass elsewhere may build another network.
        ours = implementation.partition(":")[0] == SpheroidModel.__module__
        return "openvino" if ours and not on_gpu else "torch"
    if requested == "openvino" and on_gpu:
        raise ConfigurationError("engine openvino runs on the CPU; on a GPU use torch or auto")
    return requested


def _make_engine(
    spec: ModelSpec, source: Source, calibration: dict[str, float], device: str
) -> Engine:
    preset = get_preset(spec.preset)
    threads = spec.threads or usable_cpus()
    if choose_engine(spec.engine, spec.implementation, device) == "openvino":
        from deployments.inference.engines import openvino_engine

        fast = openvino_engine.fast_precisions()
        precision = choose_precision(spec.precision, fast, calibration)
        cache = cache_directory()
        graph = cached_graph(source, cache)
        return openvino_engine.OpenVinoEngine(graph, precision, threads, cache / "compiled")

    from deployments.inference.building import build_network

    network = build_network(source.implementation, spec.input_size, source.weights, source.widths)
    if device == "cpu":
        from deployments.inference.engines.torch_engine import TorchEngine

        choose_precision(spec.precision, (), calibration)
        return TorchEngine(network, preset, threads)

    from deployments.inference.engines import cuda_engine

    fast = cuda_engine.fast_precisions(device)
    precision = choose_precision(spec.precision, fast, calibration)
    return cuda_engine.CudaEngine(network, preset, device, precision)


def _checked_metadata(path: Path, preset: str) -> WeightsMetadata:
    metadata = read_metadata(path)
    if metadata.preset != preset:
        raise WeightsError(
            f"{path.name} was trained with preset '{metadata.preset}', "
            f"but models.yaml says '{preset}'"
        )
    return metadata
