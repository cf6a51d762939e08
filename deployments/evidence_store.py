"""What replicas learnt about memory, kept where the next replica finds it.

A replica that starts would learn by running out of memory what its peers, or its predecessor,
already know. So each lesson is put into the key-value store of the Ray cluster, under its key
(model, weights, arithmetic, input size, device). It lives as long as the cluster does.
"""

import dataclasses
import json
import time

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from deployments.inference.memory.state import Evidence, MemoryKey

_NAMESPACE = "spheroserve-memory"


def publish(evidence: Evidence) -> None:
    """Leave a lesson for others; the latest one of a key counts. Blocks for a moment."""
    lesson = {"at": time.time(), "evidence": dataclasses.asdict(evidence)}
    _internal_kv_put(_name(evidence.key), json.dumps(lesson).encode(), namespace=_NAMESPACE)


def recall(key: MemoryKey) -> Evidence | None:
    """The latest lesson about a key, aged by the time since; None where there is none."""
    stored = _internal_kv_get(_name(key), namespace=_NAMESPACE)
    if not stored:
        return None
    lesson = json.loads(stored)
    # Clocks of nodes may differ a little; a lesson never comes from the future.
    age = max(0.0, time.time() - lesson["at"])
    values = lesson["evidence"] | {"key": key}
    evidence = Evidence(**values)
    if evidence.smallest_failure is not None and evidence.remembered_s <= age:
        return None
    return dataclasses.replace(
        evidence,
        cooling_s=max(0.0, evidence.cooling_s - age),
        remembered_s=max(0.0, evidence.remembered_s - age),
    )


def _name(key: MemoryKey) -> bytes:
    return json.dumps(dataclasses.astuple(key)).encode()
