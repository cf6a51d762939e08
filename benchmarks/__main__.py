"""``python -m benchmarks sweep|serve|cold-start|report``."""

import sys

import click

from benchmarks.results import record
from benchmarks.subjects import CLASSES

variant_option = click.option(
    "--variant",
    "variants",
    multiple=True,
    type=click.Choice(["compact", "full"]),
    default=["compact", "full"],
    show_default=True,
    help="Networks as packaged, or at full width; both if not given.",
)


model_option = click.option(
    "--model",
    "models",
    multiple=True,
    type=click.Choice(list(CLASSES)),
    default=list(CLASSES),
    show_default=True,
    help="Network; may be given more than once.",
)


@click.group()
def cli() -> None:
    """Measure this machine, and write documentation and profiles from what was measured."""


@cli.command()
@model_option
@variant_option
@click.option("--seconds", default=10.0, show_default=True, help="Time for each figure.")
@click.option("--most", type=int, help="Largest batch.")
@click.option("--device", default="cpu", show_default=True, help="cpu, or a GPU such as cuda:0.")
def sweep(
    models: tuple[str, ...],
    variants: tuple[str, ...],
    seconds: float,
    most: int | None,
    device: str,
) -> None:
    """Images per second, latency and memory by batch size, without the service."""
    from benchmarks import sweep as benchmark

    for rows in benchmark.sweep(models, variants, seconds, most, device):
        click.echo(record("sweep", rows, device=device))


@cli.command()
@variant_option
@click.option("--clients", multiple=True, type=int, default=[1, 4, 16, 64], show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Time for each figure.")
@click.option("--haproxy/--no-haproxy", default=True, show_default=True)
def serve(
    variants: tuple[str, ...], clients: tuple[int, ...], seconds: float, haproxy: bool
) -> None:
    """The service over HTTP beside the bare engine."""
    from benchmarks import serve as benchmark

    # One request alone is what the others are compared with.
    clients = tuple(sorted({1, *clients}))
    proxies = [False, True] if haproxy else [False]
    rows = [
        benchmark.serve(variant, clients, seconds, proxy)
        for variant in variants
        for proxy in proxies
    ]
    click.echo(record("serve", rows))


@cli.command("cold-start")
@model_option
@variant_option
@click.option("--repeats", default=3, show_default=True, type=click.IntRange(1))
def cold_start(models: tuple[str, ...], variants: tuple[str, ...], repeats: int) -> None:
    """From the start of a process to its first answer."""
    from benchmarks import cold_start as benchmark

    click.echo(record("cold_start", benchmark.cold_start(models, variants, repeats)))


@cli.command()
@click.option("--check", is_flag=True, help="Change nothing; fail where something differs.")
def report(check: bool) -> None:
    """Write tables, plots and profiles from the result files."""
    from benchmarks.report import write

    stale = write(check)
    if check and stale:
        sys.exit(f"not what the results say: {', '.join(stale)}; run python -m benchmarks report")


if __name__ == "__main__":
    cli()
