"""From a configuration to a runner that has proven itself on a full batch."""

import logging
import time

from deployments.config import ModelSpec, Tunables
from deployments.inference.loader import load_model
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
    started = time.monotonic()
    loaded = load_model(spec, tunables, device)
    memory = DeviceMemory(device, gpu_share)
    runner = ModelRunner(name, spec, loaded, tunables, memory, lessons)
    loading = time.monotonic() - started
    warming = runner.warm_up()
    log.info("%s: loaded in %.2f s, warm-up %.2f s on %s", name, loading, warming, device)
    if runner.batch_size() < tunables.max_batch_size:
        log.warning(
            "%s: batches of %d do not fit, %d images at a time do",
            name,
            tunables.max_batch_size,
            runner.batch_size(),
        )
    return runner
