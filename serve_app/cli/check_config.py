"""``spheroserve check-config``: would it start, and as what."""

import math
import os
from pathlib import Path

import click

from deployments.config import load_profile
from serve_app.cli.options import config_option, env_file_option, profile_option, read_env_file


@click.command("check-config")
@profile_option
@config_option
@env_file_option
@click.option("--cpus", type=float, help="CPUs of the node in question, if not this machine.")
@click.option("--gpus", type=int, help="GPUs of the node in question, if not this machine.")
def check_config(
    profile: str, directory: Path, env_file: Path | None, cpus: float | None, gpus: int | None
) -> None:
    """Check the configuration without starting anything; exit code 1 if it cannot work."""
    read_env_file(env_file)
    import torch

    from serve_app.capacity import Node, describe_capacity
    from serve_app.preflight import check_jobs, check_profile
    from serve_app.serve_config import render, required_cpus
    from serve_app.settings import Settings

    settings = Settings.from_environment()
    loaded = load_profile(directory, profile)
    for line in check_profile(loaded, gpus):
        click.echo(line)
    for name in loaded.models:
        size = loaded.batch_sizes.of(name)
        click.echo(
            f"{name}: batches of {size.optimal_batch_size}, "
            f"at most {size.max_safe_batch_size} files a request"
        )
    # ``spheroserve up`` gives Ray as many logical CPUs as the fewest replicas need.
    here = Node(
        max(os.cpu_count() or 1, math.ceil(required_cpus(loaded))), torch.cuda.device_count()
    )
    node = Node(here.cpus if cpus is None else cpus, here.gpus if gpus is None else gpus)
    for line in describe_capacity(loaded, node):
        click.echo(line)
    check_jobs()
    render(loaded, settings, "127.0.0.1", 8000)
    click.echo(f"{required_cpus(loaded):g} logical CPUs needed; configuration is good")
