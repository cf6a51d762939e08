"""``spheroserve weights``: from SpheroSeg's checkpoints to weight files of this service."""

from pathlib import Path

import click


@click.group()
def weights() -> None:
    """Weight files."""


@weights.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--network", help="Name of the network; told by the keys where it is left out.")
@click.option(
    "--preset",
    default="spheroseg-2025-08",
    show_default=True,
    help="Preprocessing that the weights were trained with.",
)
@click.option("--input-size", default=1024, show_default=True, type=click.IntRange(32, 8192))
@click.option(
    "--calibrate/--no-calibrate",
    "calibrated",
    default=True,
    show_default=True,
    help="Measure whether half precision finds the same masks; minutes at full width.",
)
def convert(
    source: Path,
    target: Path,
    network: str | None,
    preset: str,
    input_size: int,
    calibrated: bool,
) -> None:
    """Write the weights of SOURCE (.pth) as TARGET (.safetensors)."""
    from deployments.inference import checkpoints

    metadata = checkpoints.convert(
        source, target, network=network, preset=preset, input_size=input_size
    )
    click.echo(f"{target}: {metadata.network}, widths {metadata.widths}, sha256 {metadata.sha256}")
    if calibrated:
        _calibrate(target)


@weights.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def calibrate(file: Path) -> None:
    """Measure whether half precision finds the same masks, and record it in FILE.

    Replicas use a precision below float32 only where this has shown that it agrees.
    """
    _calibrate(file)


def _calibrate(file: Path) -> None:
    from deployments.inference import calibration
    from deployments.inference.engines.precision import MINIMUM_IOU

    for precision, iou in calibration.calibrate(file).calibration.items():
        verdict = "agrees with" if iou >= MINIMUM_IOU else "differs from"
        click.echo(f"{precision} {verdict} float32: mask IoU {iou:.4f}")
