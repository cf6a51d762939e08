"""What the ingress knows of the models without asking anybody.

A task asks the replicas every few seconds; the routes read what it heard last. So /health
answers at once, whatever the models do.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from deployments.config import ModelSpec, Strict
from deployments.inference.types import UNTRAINED
from deployments.model_client import ModelClient
from serve_app.model_gauges import ModelGauges
from serve_app.service import Health, ModelInfo

log = logging.getLogger(__name__)

_PERIOD_S = 1.0
_PATIENCE_S = 5.0


class ModelLimits(Strict):
    """What clients are told of a model's limits: part of the ingress's ``user_config``.

    Attributes:
        optimal_batch_size: Most images in one device call.
        max_safe_batch_size: Most files in one batch-segment request.
        expected_throughput: Images per second; 0 where nobody has measured it.
        threshold: Recommended threshold.
    """

    optimal_batch_size: int = 1
    max_safe_batch_size: int = 1
    expected_throughput: float = 0.0
    threshold: float = 0.5


class ModelDirectory:
    """The served models, their limits, and what their replicas said last."""

    def __init__(self, specs: Mapping[str, ModelSpec], clients: Mapping[str, ModelClient]) -> None:
        self.limits: dict[str, ModelLimits] = {name: ModelLimits() for name in specs}
        self._specs = specs
        self._clients = clients
        self._replicas: dict[str, list[dict[str, Any]]] = {name: [] for name in specs}
        self._gauges = ModelGauges()

    async def watch(self) -> None:
        """Ask the replicas for ever."""
        while True:
            await asyncio.gather(*(self._ask(name) for name in self._clients))
            await asyncio.sleep(_PERIOD_S)

    async def _ask(self, name: str) -> None:
        try:
            self._replicas[name] = await self._clients[name].describe(_PATIENCE_S)
        except TimeoutError:
            # Still loading, or too busy to say; what it said last stands until it answers.
            log.debug("%s did not describe itself within %s s", name, _PATIENCE_S)
        self._gauges.set(name, self._replicas[name])

    def models(self) -> dict[str, ModelInfo]:
        """All models, loaded or not."""
        return {name: self._info(name) for name in self._specs}

    def _info(self, name: str) -> ModelInfo:
        limits, replicas = self.limits[name], self._replicas[name]
        trained = any(replica["weights"] != UNTRAINED for replica in replicas)
        return ModelInfo(
            name=name,
            description=self._specs[name].description,
            has_pretrained=trained,
            has_finetuned=trained,
            recommended_threshold=limits.threshold,
            optimal_batch_size=limits.optimal_batch_size,
            max_safe_batch_size=limits.max_safe_batch_size,
            expected_throughput=limits.expected_throughput,
            state={
                "loaded": bool(replicas),
                "input_size": self._specs[name].input_size,
                "replicas": replicas,
            },
        )

    def health(self) -> Health:
        """How many models answer, and on what."""
        replicas = [replica for heard in self._replicas.values() for replica in heard]
        gpus = {replica["device_name"] for replica in replicas if replica["device"] != "cpu"}
        return Health(
            models_loaded=sum(bool(heard) for heard in self._replicas.values()),
            gpu_available=bool(gpus),
            device_count=len(gpus),
            device_name=", ".join(sorted(gpus)) or "CPU",
        )
