"""The command line ``spheroserve``."""

import logging
import sys

import click

from deployments.errors import ServiceError
from serve_app.cli.check_config import check_config
from serve_app.cli.k8s import k8s
from serve_app.cli.keys import keys
from serve_app.cli.mail import mail
from serve_app.cli.segment import segment
from serve_app.cli.status import status
from serve_app.cli.up import up
from serve_app.cli.weights import weights


@click.group()
@click.version_option(package_name="spheroserve")
def cli() -> None:
    """SpheroServe: segmentation of tumour spheroids as a service."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


for command in (up, segment, status, weights, check_config, keys, mail, k8s):
    cli.add_command(command)


def main() -> None:
    """Run a command; an error that we know is one sentence and exit code 1."""
    try:
        cli()
    except ServiceError as error:
        click.echo(f"spheroserve: {error}", err=True)
        sys.exit(1)
