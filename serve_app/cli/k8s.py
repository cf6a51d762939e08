"""``spheroserve k8s``: manifests from the configuration."""

from pathlib import Path

import click

from deployments.errors import ConfigurationError
from serve_app.cli.options import config_option


@click.group()
def k8s() -> None:
    """Kubernetes manifests."""


@k8s.command()
@config_option
@click.option(
    "--manifests",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path("k8s"),
    show_default=True,
    help="Folder of the manifests.",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The .env file that the pods are given; without one, the defaults.",
)
@click.option("--check", is_flag=True, help="Only compare; exit code 1 if something differs.")
def render(directory: Path, manifests: Path, env_file: Path | None, check: bool) -> None:
    """Write Serve's configuration into the manifests."""
    from serve_app.k8s import render_patches

    for path, text in render_patches(directory, env_file).items():
        target = manifests / path
        if check:
            if not target.is_file() or target.read_text(encoding="utf-8") != text:
                raise ConfigurationError(
                    f"{target} differs from the configuration; run spheroserve k8s render"
                )
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        click.echo(f"wrote {target}")
