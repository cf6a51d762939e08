"""Refuses to serve where strangers get in, unless somebody said that this is meant."""

import ipaddress
import os
from collections.abc import Mapping

from pydantic import Field

from deployments.config import Strict
from deployments.errors import ConfigurationError
from serve_app.settings import Settings


class Exposure(Strict):
    """Where the service can be reached, as the arguments of the applications say it.

    They are checked where the applications are built and started: on Kubernetes nothing of ours
    runs before.

    Attributes:
        host: Address that the proxies listen on.
        allow_open_cluster: Whether Ray may do without its token.
    """

    host: str = Field(default="127.0.0.1", min_length=1)
    allow_open_cluster: bool = False


def check_http(host: str, settings: Settings) -> None:
    """Refuse to listen beyond this machine for everybody, unless told so.

    Raises:
        ConfigurationError: There are no API keys, and nobody said that this is meant.
    """
    if not is_local(host) and settings.api_keys_file is None and not settings.allow_anonymous:
        raise ConfigurationError(
            f"listening on {host} lets everybody in who reaches it: set SPHEROSERVE_API_KEYS_FILE, "
            "or SPHEROSERVE_ALLOW_ANONYMOUS=true if that is meant"
        )


def check_cluster(
    gcs_address: str, allowed: bool, environment: Mapping[str, str] = os.environ
) -> None:
    """Refuse a Ray cluster that other machines reach and that asks them for no token.

    Args:
        gcs_address: Address of Ray's control store, ``host:port``.
        allowed: Whether somebody said that this is meant.
        environment: Variables of a process of that cluster, which tell its mode.

    Raises:
        ConfigurationError: Whoever reaches its ports could run any program.
    """
    if allowed or environment.get("RAY_AUTH_MODE", "").lower() == "token":
        return
    if not is_local(gcs_address.rpartition(":")[0].strip("[]")):
        raise ConfigurationError(
            f"the Ray cluster at {gcs_address} asks for no token, and whoever reaches its ports "
            "runs any program there: set RAY_AUTH_MODE=token on every node (KubeRay: authOptions), "
            "or SPHEROSERVE_ALLOW_OPEN_CLUSTER=true if that is meant"
        )


def is_local(host: str) -> bool:
    """Whether only this machine reaches that address; a name may be anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
