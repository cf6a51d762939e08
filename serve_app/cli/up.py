"""``spheroserve up``: the whole service in the foreground."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from deployments.config import Profile, load_profile
from deployments.device_profiles import with_measured_sizes
from deployments.tracing import serve_variables
from serve_app.cli.options import config_option, env_file_option, profile_option, read_env_file


@click.command()
@profile_option
@config_option
@env_file_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option(
    "--tuned", is_flag=True, help="On a CPU, use batch sizes that were measured on this device."
)
def up(
    profile: str, directory: Path, env_file: Path | None, host: str, port: int, tuned: bool
) -> None:
    """Start the service and run until SIGINT or SIGTERM.

    Prints one line "ready http://..." when every model answers.
    """
    read_env_file(env_file)
    stopped = threading.Event()
    _set_on_signal(stopped)

    # Ray takes seconds to import; what can be refused is refused before.
    from serve_app.exposure import check_http
    from serve_app.settings import Settings

    settings = Settings.from_environment()
    # Ray's processes inherit this environment.
    os.environ.update(serve_variables(os.environ))
    check_http(host, settings)
    loaded = load_profile(directory, profile)
    _check_in_child(loaded)
    loaded = with_measured_sizes(loaded, directory, tuned)

    from serve_app.local_cluster import LocalCluster, check_port
    from serve_app.serve_config import render, required_cpus

    check_port(host, port)
    config = render(loaded, settings, host, port)
    with LocalCluster(config, required_cpus(loaded)) as cluster:
        # Ray has put handlers of its own in place, which print a stack for every signal.
        _set_on_signal(stopped)
        if cluster.wait_until_running(stopped.is_set):
            click.echo(f"ready http://{host}:{port}")
            stopped.wait()
        click.echo("stopping")


def _check_in_child(profile: Profile) -> None:
    """Run the checks where they may import torch: it would stay in memory as long as we run.

    Raises:
        ConfigurationError: Something cannot work.
    """
    with ProcessPoolExecutor(
        1,
        multiprocessing.get_context("spawn"),
        # The terminal sends it to all of us; the parent stops when the check is over.
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    ) as child:
        child.submit(_check, profile).result()


def _check(profile: Profile) -> None:
    from serve_app.preflight import check_jobs, check_profile

    check_profile(profile)
    check_jobs()


def _set_on_signal(event: threading.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: event.set())
