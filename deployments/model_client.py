"""Calls a model by its handle, and calls again where a replica dies under the request."""

import asyncio
import logging
import time
from typing import Any

import ray.exceptions
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RequestCancelledError,
)
from ray.serve.handle import DeploymentHandle

from deployments.errors import (
    DeadlineExceeded,
    ModelUnavailable,
    Overloaded,
    RetryElsewhere,
    ServiceError,
)
from deployments.gate import Priority
from deployments.inference.types import ProbabilityMap, UInt8Array

log = logging.getLogger(__name__)

# Serve does not repeat a request that a replica had accepted before it died. Without a retry
# 32 of 986 requests were lost under random kills, with four attempts more 0 of 994.
_RETRIES = 4
_FIRST_WAIT_S = 0.05
# A replica whose device is lost says so until Serve has noticed and replaced it, which takes
# three health checks; with one replica there is nobody else to ask meanwhile.
_FIRST_WAIT_LOST_DEVICE_S = 0.5


class ModelClient:
    """One model as the ingress and the jobs see it.

    Args:
        name: Name of the model.
        handle: Handle of its deployment.
        priority: Who goes first at the model's gate.
    """

    def __init__(
        self, name: str, handle: DeploymentHandle, priority: Priority = Priority.INTERACTIVE
    ) -> None:
        self.name = name
        self._priority = priority
        self._handle = handle

    async def segment(self, pixels: UInt8Array, deadline: float) -> ProbabilityMap:
        """Run the model on one image.

        Waits while the model loads. Cancelling drops the request wherever it is.

        Args:
            pixels: uint8 (S, S, 3) RGB at the model's input size.
            deadline: ``time.monotonic()`` by which the answer must be there.

        Raises:
            DeadlineExceeded: It was not.
            Overloaded: The queue in front of the model is full.
            ModelUnavailable: The model failed to start, or its replicas died again and again.
            ServiceError: Whatever the replica answered.
        """
        for attempt in range(_RETRIES + 1):
            try:
                return await self._attempt(pixels, deadline)
            except (ray.exceptions.RayActorError, RetryElsewhere) as error:
                log.warning(
                    "replica of %s lost, attempt %d: %s", self.name, attempt + 1, type(error)
                )
                died = isinstance(error, ray.exceptions.RayActorError)
            wait = (_FIRST_WAIT_S if died else _FIRST_WAIT_LOST_DEVICE_S) * 2**attempt
            await asyncio.sleep(max(0.0, min(wait, deadline - time.monotonic())))
        raise ModelUnavailable(f"replicas of {self.name} died {_RETRIES + 1} times in a row")

    async def _attempt(self, pixels: UInt8Array, deadline: float) -> ProbabilityMap:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded(f"{self.name} did not answer within the time allowed")
        response = self._handle.segment.remote(pixels, seconds, self._priority)
        try:
            async with asyncio.timeout(seconds):
                result: ProbabilityMap = await response
                return result
        except TimeoutError:
            response.cancel()
            raise DeadlineExceeded(f"{self.name} did not answer within the time allowed") from None
        except asyncio.CancelledError:
            response.cancel()
            raise
        except BackPressureError as error:
            raise Overloaded(f"too many requests wait for {self.name}") from error
        except DeploymentUnavailableError as error:
            raise ModelUnavailable(f"{self.name} could not be started") from error
        except RequestCancelledError as error:
            raise RetryElsewhere(f"{self.name} dropped the request") from error
        except ray.exceptions.RayTaskError as error:
            # Ray wraps what the replica raised in a class that is both; only the cause is ours.
            if isinstance(error.cause, ServiceError):
                raise error.cause from None
            raise

    async def describe(self, seconds: float) -> list[dict[str, object]]:
        """Ask every running replica what it is; an empty list while there is none.

        Args:
            seconds: Longest wait.

        Raises:
            TimeoutError: A replica did not answer in time.
        """
        return await self._ask_all("describe", seconds)

    async def forget_memory(self, seconds: float = 30.0) -> None:
        """Let every running replica forget what it learnt about memory.

        Raises:
            TimeoutError: A replica did not answer in time.
        """
        await self._ask_all("forget_memory", seconds)

    async def _ask_all(self, method: str, seconds: float) -> list[Any]:
        """Call a method of every running replica.

        ``broadcast`` is alpha in Ray 2.60, so this is the one place that uses it. It passes the
        queue by: a replica that is busy with images answers all the same.
        """
        try:
            broadcast = self._handle.broadcast(method)
            replies: list[Any] = await broadcast.results_async(timeout_s=seconds)
            return replies
        except (DeploymentUnavailableError, ray.exceptions.RayError):
            return []

    async def start(self, seconds: float) -> bool:
        """Have Serve start a replica where none runs; return whether one answers.

        Args:
            seconds: Longest wait.
        """
        response = self._handle.describe.remote()
        try:
            async with asyncio.timeout(seconds):
                await response
        except (TimeoutError, DeploymentUnavailableError, ray.exceptions.RayError):
            response.cancel()
            return False
        return True
