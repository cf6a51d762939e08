"""The option ``--api-key`` of commands that ask a service."""

from collections.abc import Callable
from typing import TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., object])


def api_key_option(scope: str) -> Callable[[Command], Command]:
    """Return the option, which gives the command an argument ``api_key``.

    Args:
        scope: What the key must be good for.
    """
    return click.option(
        "--api-key",
        envvar="SPHEROSERVE_API_KEY",
        help=f"Key of scope {scope}, where the service wants one; also SPHEROSERVE_API_KEY.",
    )


def key_headers(api_key: str | None) -> dict[str, str]:
    """Headers that carry the key, none without one."""
    return {"X-API-Key": api_key} if api_key else {}
