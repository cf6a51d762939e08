"""What was aimed at, and what the result files say of it."""

from collections.abc import Iterator
from typing import Any

from benchmarks.profiles import served
from benchmarks.results import Result, on_gpu
from benchmarks.tables import NAMES, baseline, best, limit_ratio, seconds, table

Target = tuple[str, str, float, bool]

# Times as fast as the original's way at full width in float32.
_SPEED_UPS = {"hrnet": 1.5, "resunet_small": 2.0, "resunet_advanced": 2.0}
_GPU_SPEED_UP = 3
_GPU_LIMIT_RATIO = 8
_COMPACT_IMAGES_PER_SECOND = 10
_SERVED_BY_BARE = {"compact": 0.85, "full": 0.90}
_CLIENTS = 16
_BATCH_WAIT_MS = 2
_OVERHEAD_MS = {"default": 30, "haproxy": 15}
_START_S = {"compact": 6, "full": 10}


def targets_table(result: Result) -> str:
    """Every target that was measured on this device."""
    rows = [
        (what, aim, f"{found:.3g}", "yes" if reached else "no")
        for section in (_gpu if on_gpu(result) else _speed, _served, _starts)
        for what, aim, found, reached in section(result)
    ]
    return table(("measured", "aim", "found", "reached"), rows)


def _at_least(what: str, aim: float, found: float, unit: str = "") -> Target:
    return what, f"≥ {aim:g}{unit}", found, found >= aim


def _at_most(what: str, aim: float, found: float, unit: str) -> Target:
    return what, f"≤ {aim:g}{unit}", found, found <= aim


def _speed(result: Result) -> Iterator[Target]:
    for row in result["sweep"]:
        before = baseline(result, row)
        if row["engine"] == "torch" or before is None or not row["batches"]:
            continue
        name, fastest = NAMES[row["model"]], best(row)
        if row["variant"] == "full" and row["precision"] == "float32":
            what = f"{name}, full, float32: speed-up over the original's way"
            yield _at_least(
                what, _SPEED_UPS[row["model"]], seconds(before) / seconds(fastest), " ×"
            )
        if (row["variant"], row["model"]) == ("compact", "hrnet"):
            what = f"{name}, compact, {row['precision']}: images/s"
            yield _at_least(what, _COMPACT_IMAGES_PER_SECOND, 1 / seconds(fastest))


def _gpu(result: Result) -> Iterator[Target]:
    for row in served(result, "full").values():
        name = f"{NAMES[row['model']]}, full, {row['precision']}"
        before = baseline(result, row)
        if before is not None:
            ratio = seconds(before) / seconds(best(row))
            yield _at_least(f"{name}: speed-up over the original's way", _GPU_SPEED_UP, ratio, " ×")
        limit = limit_ratio(result, row)
        if limit is not None:
            yield _at_most(f"{name}: of the arithmetic limit", _GPU_LIMIT_RATIO, limit, " ×")


def _served(result: Result) -> Iterator[Target]:
    for run in result.get("serve", []):
        where = f"{NAMES[run['model']]}, {run['variant']}, {run['proxy']} proxy"
        bare = max(figure["images_per_second"] for figure in run["bare"])
        loops: dict[int, dict[str, Any]] = {loop["clients"]: loop for loop in run["closed_loop"]}
        if _CLIENTS in loops:
            ratio = loops[_CLIENTS]["images_per_second"] / bare
            what = f"{where}: served/bare at {_CLIENTS} clients"
            yield _at_least(what, _SERVED_BY_BARE[run["variant"]], ratio)
        if run["variant"] == "compact":
            one = run["one_request_ms"]
            # Files of the first days have both together, as the queue.
            waited = one["queue"] + one.get("batch_wait", 0)
            yield _at_most(
                f"{where}: queue and batch wait of one client", _BATCH_WAIT_MS, waited, " ms"
            )
            what = f"{where}: overhead of one client, p50"
            yield _at_most(what, _OVERHEAD_MS[run["proxy"]], one["overhead"], " ms")


def _starts(result: Result) -> Iterator[Target]:
    for row in result.get("cold_start", []):
        what = f"{NAMES[row['model']]}, {row['variant']}: start with a warm cache"
        yield _at_most(what, _START_S[row["variant"]], row["warm_s"], " s")
