"""``batch_sizes.json`` in SpheroSeg's schema: how many images one device call takes.

A file written by SpheroSeg loads as it is. It names models and keys that we do not have, so
this one file, unlike all other configuration, is read leniently: what is unknown is named in a
warning and ignored.
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployments.errors import ConfigurationError

log = logging.getLogger(__name__)


class BatchSize(BaseModel):
    """The batch limits of one model.

    Attributes:
        optimal_batch_size: Most images in one device call; ``@serve.batch``'s size.
        max_safe_batch_size: Most files in one batch-segment request, which is split inside.
        expected_throughput: Images per second, as measured by whoever wrote the file; reported,
            never used. 0 says that nobody has measured it.
        memory_limit_mb: Memory in MiB that the replica may use on top of its loaded network.
            None sets no limit of its own.
        p95_latency_ms: 95th percentile of the latency of one device call; reported, never used.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    optimal_batch_size: Annotated[int, Field(ge=1, le=256)] = 1
    max_safe_batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    expected_throughput: Annotated[float, Field(ge=0)] = 0.0
    memory_limit_mb: Annotated[float, Field(gt=0)] | None = None
    p95_latency_ms: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "BatchSize":
        if self.max_safe_batch_size < self.optimal_batch_size:
            raise ValueError("max_safe_batch_size is below optimal_batch_size")
        return self


class DynamicBatching(BaseModel):
    """How long a batch waits for company.

    Attributes:
        enabled: False makes every device call one image.
        max_queue_delay_ms: Wait for more requests once a first one is there, in milliseconds.
        timeout_ms: In SpheroSeg's files; not used, since waiting longer than the delay gains
            nothing with the gate in front of the queue.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    enabled: bool = True
    max_queue_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    timeout_ms: Annotated[float, Field(ge=0)] | None = None


class BatchSizes(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    batch_configurations: dict[str, BatchSize]
    dynamic_batching: DynamicBatching = DynamicBatching()
    memory_reserve_percent: Annotated[float, Field(ge=0, lt=100)] = 15.0

    def of(self, model: str) -> BatchSize:
        """The limits of one model; single images for a model that the file does not name."""
        size = self.batch_configurations.get(model, BatchSize())
        if not self.dynamic_batching.enabled:
            size = size.model_copy(update={"optimal_batch_size": 1})
        return size


def load_batch_sizes(path: Path, served: Collection[str]) -> BatchSizes:
    """Read the file.

    Args:
        path: ``batch_sizes.json``.
        served: Names of the models that are served; others in the file are ignored.

    Raises:
        ConfigurationError: The file is missing, is no JSON or has values out of range.
    """
    try:
        sizes = BatchSizes.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigurationError(f"{path}: {where}: {first['msg']}") from error
    unknown = sorted(set(sizes.batch_configurations) - set(served))
    if unknown:
        log.warning("%s: ignoring models that are not served: %s", path.name, ", ".join(unknown))
    missing = sorted(set(served) - set(sizes.batch_configurations))
    if missing:
        log.warning("%s: no entry, one image a call: %s", path.name, ", ".join(missing))
    return sizes
