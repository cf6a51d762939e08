"""Nobody is let in by oversight, at the HTTP port or at Ray's."""

from pathlib import Path

import pytest

from deployments.config import load_profile, packaged_configs
from deployments.errors import ConfigurationError
from serve_app.app import InferenceArgs, JobsArgs
from serve_app.exposure import check_cluster, check_http
from serve_app.ingress import Ingress
from serve_app.serve_config import render
from serve_app.settings import Settings

OUTSIDE = ["0.0.0.0", "::", "192.0.2.7", "lab.example.org"]
INSIDE = ["127.0.0.1", "::1", "localhost"]


@pytest.mark.parametrize("host", INSIDE)
def test_this_machine_needs_no_keys(host: str) -> None:
    check_http(host, Settings())


@pytest.mark.parametrize("host", OUTSIDE)
def test_the_outside_does_unless_told_otherwise(host: str) -> None:
    with pytest.raises(ConfigurationError, match="SPHEROSERVE_API_KEYS_FILE"):
        check_http(host, Settings())
    check_http(host, Settings(allow_anonymous=True))
    check_http(host, Settings(api_keys_file=Path("keys.json")))


def test_an_ingress_replica_refuses_by_itself() -> None:
    # On Kubernetes nothing of ours runs before it.
    with pytest.raises(ConfigurationError, match="SPHEROSERVE_API_KEYS_FILE"):
        Ingress({}, {}, "0.0.0.0")


@pytest.mark.parametrize("address", ["192.0.2.7:6379", "[2001:db8::7]:6379", "head-svc:6379"])
@pytest.mark.parametrize("mode", [None, "disabled", "k8s"])
def test_a_cluster_without_token_is_refused(address: str, mode: str | None) -> None:
    environment = {} if mode is None else {"RAY_AUTH_MODE": mode}
    with pytest.raises(ConfigurationError, match="RAY_AUTH_MODE=token"):
        check_cluster(address, False, environment)
    check_cluster(address, True, environment)


def test_a_cluster_with_token_or_within_this_machine_is_not() -> None:
    check_cluster("192.0.2.7:6379", False, {"RAY_AUTH_MODE": "token"})
    check_cluster("127.0.0.1:6379", False, {})
    check_cluster("[::1]:6379", False, {})


@pytest.mark.parametrize("allowed", [False, True])
def test_both_applications_are_told(allowed: bool) -> None:
    settings = Settings(allow_open_cluster=allowed)
    config = render(load_profile(packaged_configs(), "local"), settings, "0.0.0.0", 8000)
    inference, jobs = (application["args"] for application in config["applications"])
    exposures = (
        InferenceArgs.model_validate(inference).exposure,
        JobsArgs.model_validate(jobs).exposure,
    )
    for exposure in exposures:
        assert (exposure.host, exposure.allow_open_cluster) == ("0.0.0.0", allowed)
