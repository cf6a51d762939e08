"""From a configuration to a runner that has proven itself on a full batch."""

import logging

from deployments.config import ModelSpec, Tunables
from deployments.inference.loader import LoadedModel, load_model
from deployments.inference.memory.device import DeviceMemory
from deployments.inference.memory.lessons import Lessons
from deployments.inference.runner import ModelRunner

log = logging.getLogger(__name__)


def load_runner(
    name: str,
    spec: ModelSpec,
    tunables: Tunables,
    device: str,
    gpu_share: float = 0.0,
    lessons: Lessons | None = None,
) -> ModelRunner:
    """Load a model and prove it on a full batch.

    Args:
        name: Name of the model.
        spec: What of the model is fixed.
        tunables: Weights, batch size and limits.
        device: ``cpu`` or ``cuda:N``.
        gpu_share: The replica's share of that GPU.
        lessons: Where replicas share what they learnt about memory.

    Raises:
        ConfigurationError: The model or its weights do not fit the configuration.
        ServiceError: The warm-up failed.
    """
    loaded = load_model(spec, tunables, device)
    return start_runner(name, spec, loaded, tunables, gpu_share, lessons)


def start_runner(
    name: str,
    spec: ModelSpec,
    loaded: LoadedModel,
    tunables: Tunables,
    gpu_share: float = 0.0,
    lessons: Lessons | None = None,
) -> ModelRunner:
    """Prove a loaded model on a full batch.

    Its memory is measured and limited from here. What else runs in this process meanwhile counts
    as its own, so that what it needs may be put too high.

    Args:
        name: Name of the model.
        spec: What of the model is fixed.
        loaded: The network on its device.
        tunables: Batch size and limits.
        gpu_share: The replica's share of the GPU.
        lessons: Where replicas share what they learnt about memory.

    Raises:
        ServiceError: The warm-up failed.
    """
    memory = DeviceMemory(loaded.engine.device, gpu_share)
    runner = ModelRunner(name, spec, loaded, tunables, memory, lessons)
    log.info("%s: warm-up %.2f s on %s", name, runner.warm_up(), loaded.engine.device)
    if runner.batch_size() < tunables.max_batch_size:
        log.warning(
            "%s: batches of %d do not fit, %d images at a time do",
            name,
            tunables.max_batch_size,
            runner.batch_size(),
        )
    return runner
