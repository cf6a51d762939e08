"""Options that several commands share."""

import os
from pathlib import Path

import click

from deployments.config import packaged_configs
from deployments.errors import ConfigurationError

profile_option = click.option(
    "--profile", default="local", show_default=True, help="Profile in models.yaml."
)
config_option = click.option(
    "--config",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=packaged_configs(),
    show_default="those of the package",
    help="Folder of configuration files.",
)
env_file_option = click.option(
    "--env-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of NAME=value lines, read into the environment; what is set already wins.",
)


def read_env_file(path: Path | None) -> None:
    """Put the variables of a file into the environment.

    Raises:
        ConfigurationError: A line is neither empty, a comment nor NAME=value.
    """
    if path is None:
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        if not equals or not name.strip().isidentifier():
            raise ConfigurationError(f"{path}, line {number}: expected NAME=value")
        os.environ.setdefault(name.strip(), value.strip().strip("\"'"))
