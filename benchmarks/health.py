"""How soon /health answers while every model is saturated, and what memory all that takes.

``python -m benchmarks.health`` writes ``benchmarks/results/health.json``.
"""

import asyncio
import json
import time
from pathlib import Path

import httpx

from benchmarks import processes
from benchmarks.job_service import images, machine, running_service
from benchmarks.load import closed_loop
from benchmarks.timing import summary
from tests.smtp_sink import SmtpSink

RESULT = Path(__file__).parent / "results" / "health.json"
MODELS = ("hrnet", "resunet_small", "resunet_advanced")
CLIENTS = 16
SECONDS = 30.0
_WARM_UP_S = 3.0


async def measure(url: str) -> dict[str, object]:
    """Ask for health ten times a second, first with idle models, then with saturated ones."""
    contents = images(0, 8)
    idle = await _ask(url, 5.0)
    load = [
        asyncio.create_task(closed_loop(url, model, contents, CLIENTS, _WARM_UP_S + SECONDS))
        for model in MODELS
    ]
    await asyncio.sleep(_WARM_UP_S)
    busy = await _ask(url, SECONDS)
    seen = [observed for observed, _ in await asyncio.gather(*load)]
    return {
        "machine": machine(),
        "clients_per_model": CLIENTS,
        "idle": summary(idle),
        "saturated": summary(busy),
        "questions": len(busy),
        "images_meanwhile": sum(len(observed.seconds) for observed in seen),
        "errors": {key: n for observed in seen for key, n in observed.errors.items()},
        "resident_mb": _resident_mb(),
    }


def _resident_mb() -> dict[str, int]:
    found = processes.resident_mb()
    # The clients run in the process that started Ray, as ``spheroserve up`` does.
    found["spheroserve up"] = found.pop(processes.CLIENTS)
    return {kind: round(size) for kind, size in sorted(found.items())}


async def _ask(url: str, seconds: float) -> list[float]:
    latencies = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        end = time.perf_counter() + seconds
        while (started := time.perf_counter()) < end:
            response = await client.get("/health")
            response.raise_for_status()
            latencies.append(time.perf_counter() - started)
            await asyncio.sleep(0.1)
    return latencies


def main() -> None:
    """Measure, and write the result."""
    with SmtpSink() as sink, running_service(sink) as url:
        result = asyncio.run(measure(url))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
