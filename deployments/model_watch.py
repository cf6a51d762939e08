"""Reads out of what replicas say of themselves what an operator must know.

The notifier asks the replicas, as the ingress does; a replica never tells anyone. So no mail,
no outbox and no full disk can hold up inference.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from deployments.mail.notifications import ModelDegraded, OperatorEvent, ReplicaReplaced

_DOWN = "down"


class ModelWatch:
    """What was last heard of one model, so that each event is told once.

    Args:
        model: Name of the model.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._lost: set[int] = set()
        self._degraded = False

    def observe(self, replicas: Sequence[Mapping[str, Any]], now: datetime) -> list[OperatorEvent]:
        """Return what is new.

        A replica with a lost device fails its health check, and Serve replaces it three checks
        later; meanwhile it says so here.

        Args:
            replicas: What ``Segmenter.describe`` answered, one per running replica.
            now: Time of the events.
        """
        events: list[OperatorEvent] = []
        lost = {replica["pid"] for replica in replicas if replica["memory"]["state"] == _DOWN}
        for replica in replicas:
            if replica["pid"] in lost - self._lost:
                events.append(self._replaced(replica, now))
        self._lost = lost
        single = [replica for replica in replicas if _works_on_single_images(replica)]
        if single and not self._degraded:
            events.append(self._degradation(single[0], now))
        # Nobody running says nothing about memory: a replacement must first show what it can.
        if replicas:
            self._degraded = bool(single)
        return events

    def _replaced(self, replica: Mapping[str, Any], now: datetime) -> ReplicaReplaced:
        return ReplicaReplaced(
            model=self._model,
            replica=f"pid {replica['pid']}",
            device=_device(replica),
            reason=replica["memory"]["down_reason"] or "its device is lost",
            at=now,
        )

    def _degradation(self, replica: Mapping[str, Any], now: datetime) -> ModelDegraded:
        configured, ooms = replica["configured_batch_size"], replica["memory"]["ooms"]
        return ModelDegraded(
            model=self._model,
            device=_device(replica),
            reason=f"configured for batches of {configured}; "
            f"memory ran out in {ooms} device calls since pid {replica['pid']} started",
            at=now,
        )


def _works_on_single_images(replica: Mapping[str, Any]) -> bool:
    degraded: bool = replica["effective_batch_size"] == 1 < replica["configured_batch_size"]
    return degraded and replica["memory"]["state"] != _DOWN


def _device(replica: Mapping[str, Any]) -> str:
    return f"{replica['device']} ({replica['device_name']})"
