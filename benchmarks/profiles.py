"""Batch sizes of one device, in the schema of batch_sizes.json, from its own measurements."""

import json
from typing import Any

from benchmarks.results import Result
from benchmarks.subjects import CLASSES
from benchmarks.tables import optimal
from deployments.inference.engines.precision import MINIMUM_IOU

RESERVE_PERCENT = 15


# The networks that a CPU serves by default.
_VARIANT = "compact"


def profile(result: Result) -> str | None:
    """Return the file ``configs/profiles/<device>.json``, None without every network's figures.

    The largest safe batch is the largest that was measured and whose peak memory leaves the
    reserve of the machine's memory free.

    Args:
        result: A result file with a sweep of the compact networks.
    """
    room = result["machine"]["memory_gb"] * 1024 * (1 - RESERVE_PERCENT / 100)
    models = {
        row["model"]: _limits(row, room)
        for row in result["sweep"]
        if row["variant"] == _VARIANT
        and row["engine"] == "openvino"
        # What ``precision: auto`` takes: float32 comes first, and half precision in its place.
        and row.get("mask_iou", 1) >= MINIMUM_IOU
        and row["batches"]
    }
    if models.keys() != CLASSES.keys():
        return None
    contents = {
        "device": result["machine"]["device"],
        "measured": f"benchmarks/results/{result['file']}",
        "batch_configurations": models,
        "dynamic_batching": {"enabled": True, "max_queue_delay_ms": 5},
        "memory_reserve_percent": RESERVE_PERCENT,
    }
    return json.dumps(contents, indent=2) + "\n"


def _limits(row: dict[str, Any], room: float) -> dict[str, object]:
    chosen = optimal(row)
    safe = [figure["batch"] for figure in row["batches"] if figure["peak_mb"] <= room]
    return {
        "optimal_batch_size": chosen["batch"],
        "max_safe_batch_size": max([chosen["batch"], *safe]),
        "expected_throughput": round(chosen["images_per_second"], 2),
        "p95_latency_ms": chosen["p95_ms"],
    }
