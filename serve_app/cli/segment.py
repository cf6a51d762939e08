"""``spheroserve segment``: a folder of images through a running service."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import httpx
import orjson
from rich.console import Console
from rich.progress import Progress

from serve_app.cli.api_key import api_key_option, key_headers

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
_AT_ONCE = 16
_TIMEOUT_S = 300.0


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH...",
)
@click.option("--model", default="hrnet", show_default=True)
@click.option("--threshold", default=0.5, show_default=True, type=click.FloatRange(0.1, 0.9))
@click.option("--holes/--no-holes", default=True, show_default=True)
@click.option("--url", default="http://127.0.0.1:8000", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("segmented"))
@api_key_option("user")
def segment(
    paths: tuple[Path, ...],
    model: str,
    threshold: float,
    holes: bool,
    url: str,
    out: Path,
    api_key: str | None,
) -> None:
    """Segment images, or all images of folders; write JSON and an overlay for each to --out.

    Exit code 1, with a list, if an image failed.
    """
    images = list(find_images(paths))
    if not images:
        click.echo("no PNG, JPEG, TIFF or BMP among these paths", err=True)
        sys.exit(1)
    out.mkdir(parents=True, exist_ok=True)
    fields = {"model": model, "threshold": str(threshold), "detect_holes": str(holes).lower()}
    names = output_names(images)
    failures = asyncio.run(_segment_all(images, names, fields, url, key_headers(api_key), out))
    click.echo(f"{len(images) - len(failures)} of {len(images)} images segmented into {out}")
    for image, reason in failures:
        click.echo(f"failed: {image}: {reason}", err=True)
    if failures:
        sys.exit(1)


def find_images(paths: Iterable[Path]) -> Iterable[Path]:
    """The files named, and the images of the folders named, by suffix, in order."""
    for path in paths:
        if path.is_dir():
            found = (file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
            yield from sorted(found)
        else:
            yield path


def output_names(images: list[Path]) -> list[str]:
    """A name without suffix for each image; equal stems are told apart by their number."""
    stems = Counter(image.stem for image in images)
    seen: Counter[str] = Counter()
    names = []
    for image in images:
        seen[image.stem] += 1
        several = stems[image.stem] > 1
        names.append(f"{image.stem}-{seen[image.stem]}" if several else image.stem)
    return names


async def _segment_all(
    images: list[Path],
    names: list[str],
    fields: dict[str, str],
    url: str,
    headers: dict[str, str],
    out: Path,
) -> list[tuple[Path, str]]:
    places = asyncio.Semaphore(_AT_ONCE)
    failures: list[tuple[Path, str]] = []
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("segmenting", total=len(images))
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S) as client:

            async def one(image: Path, name: str) -> None:
                async with places:
                    try:
                        answer = await _post(client, image, fields)
                        await asyncio.to_thread(_write, image, answer, out / name)
                    except (_Failed, OSError) as error:
                        failures.append((image, str(error)))
                    progress.advance(bar)

            await asyncio.gather(*map(one, images, names))
    return failures


class _Failed(Exception):
    """One image failed; the text says why."""


async def _post(client: httpx.AsyncClient, image: Path, fields: dict[str, str]) -> dict[str, Any]:
    data = await asyncio.to_thread(image.read_bytes)
    try:
        response = await client.post(
            "/api/v1/segment", data=fields, files={"file": (image.name, data)}
        )
    except httpx.HTTPError as error:
        raise _Failed(f"no answer from {client.base_url}: {error}") from error
    try:
        answer: dict[str, Any] = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise _Failed(f"status {response.status_code}: {response.text[:200]}") from error
    if response.status_code != httpx.codes.OK:
        raise _Failed(f"status {response.status_code}: {answer.get('detail', answer)}")
    return answer


def _write(image: Path, answer: dict[str, Any], target: Path) -> None:
    from serve_app.cli.overlay import draw_overlay

    target.with_name(target.name + ".json").write_bytes(
        orjson.dumps(answer, option=orjson.OPT_INDENT_2)
    )
    overlay = draw_overlay(image.read_bytes(), answer["polygons"])
    target.with_name(target.name + ".png").write_bytes(overlay)
