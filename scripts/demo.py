"""`make demo`: the service, a few images through HTTP to every model, a job and its mail.

Results are in demo-output/.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
from demo_mail import Mailbox, free_port, run_job
from PIL import Image
from rich.console import Console
from rich.table import Table

from serve_app.cli.overlay import draw_overlay
from serve_app.cli.segment import find_images

OUTPUT = Path("demo-output")
START_LIMIT_S = 240
console = Console()


def main() -> None:
    """Run the demonstration; exit code 1 if an image failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="*", type=Path, help="your own images or folders")
    arguments = parser.parse_args()
    OUTPUT.mkdir(exist_ok=True)
    images = list(find_images(arguments.images)) or list(sample_images(OUTPUT / "images"))
    with Mailbox() as mailbox, service(mailbox.environment) as url:
        failed = asyncio.run(segment_all(url, images))
        run_job(url, images, mailbox, OUTPUT, console)
    console.print(f"Overlays, JSON and what the mail carried are in {OUTPUT}/.")
    sys.exit(1 if failed else 0)


def sample_images(folder: Path) -> Iterator[Path]:
    """Three rendered spheroids and a real micrograph (scikit-image's `cell`, CC0)."""
    from skimage import data

    from training.synthetic import make_scene

    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(3):
        path = folder / f"rendered-{seed + 1}.png"
        Image.fromarray(make_scene(seed, 768).image).save(path)
        yield path
    path = folder / "cell.png"
    Image.fromarray(data.cell()).save(path)
    yield path


@contextlib.contextmanager
def service(mail: dict[str, str]) -> Iterator[str]:
    """A running service on a free port, with these mail settings; yields its address."""
    port = free_port()
    environment = {**os.environ, "SPHEROSERVE_DATA_DIR": str(OUTPUT / "jobs"), **mail}
    started = time.monotonic()
    command = [sys.executable, "-m", "serve_app", "up", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        with console.status("starting Ray Serve and three models"):
            lines = iter(process.stdout or [])
            ready = next((line.split()[1] for line in lines if line.startswith("ready ")), None)
        if ready is None:
            sys.exit("the service did not start")
        console.print(f"Ready at {ready} after {time.monotonic() - started:.0f} s.")
        yield ready
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


async def segment_all(url: str, images: list[Path]) -> bool:
    """Send every image to every model at once, print the table, return whether one failed."""
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        models = list((await client.get("/api/v1/models")).json()["models"])
        jobs = [(image, model) for model in models for image in images]
        answers = await asyncio.gather(*(segment(client, *job) for job in jobs))
        described = (await client.get("/api/v1/models")).json()["models"]
    weights = {name: model["replicas"][0]["weights"] for name, model in described.items()}
    print_table(jobs, answers, weights)
    return any("polygons" not in answer for answer in answers)


async def segment(client: httpx.AsyncClient, image: Path, model: str) -> dict[str, Any]:
    """Segment one image by one model and write JSON and overlay."""
    data = image.read_bytes()
    started = time.monotonic()
    response = await client.post(
        "/api/v1/segment", data={"model": model}, files={"file": (image.name, data)}
    )
    answer: dict[str, Any] = response.json()
    answer["milliseconds"] = (time.monotonic() - started) * 1000
    name = f"{image.stem}-{model}"
    (OUTPUT / f"{name}.json").write_bytes(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
    if "polygons" in answer:
        (OUTPUT / f"{name}.png").write_bytes(draw_overlay(data, answer["polygons"]))
    return answer


def print_table(
    jobs: list[tuple[Path, str]], answers: list[dict[str, Any]], weights: dict[str, str]
) -> None:
    """One row per image and model."""
    table = Table("image", "model", "weights", "polygons", "ms", "batch")
    for (image, model), answer in zip(jobs, answers, strict=True):
        found = str(len(answer["polygons"])) if "polygons" in answer else str(answer["detail"])
        batch = str(answer.get("batch_size_used", ""))
        table.add_row(
            image.name, model, weights[model], found, f"{answer['milliseconds']:.0f}", batch
        )
    console.print(table)


if __name__ == "__main__":
    main()
