"""The component that keeps the service alive when a worker's node is lost."""

import pytest

from serve_app.serve_config import CONTROLLER_ENVIRONMENT
from tests.k8s.rendered import Manifest, ray_groups, serve_config, with_component, worker


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """The overlay for production with the component."""
    return with_component(tmp_path_factory.mktemp("two"), "two-workers")


def test_there_are_two_workers_from_the_start(two: list[Manifest]) -> None:
    group = worker(two)
    assert (group["replicas"], group["minReplicas"]) == (2, 2)
    assert group["maxReplicas"] >= 2


def test_each_finds_an_ingress(two: list[Manifest]) -> None:
    config = serve_config(two)
    # A proxy on every node; Serve spreads the replicas behind them.
    assert config["proxy_location"] == "EveryNode"
    (ingress,) = (
        entry for entry in config["applications"][0]["deployments"] if entry["name"] == "ingress"
    )
    assert ingress["num_replicas"] == worker(two)["minReplicas"]


def test_what_ran_on_one_fits_on_the_other(two: list[Manifest]) -> None:
    (container,) = worker(two)["template"]["spec"]["containers"]
    entries = [
        entry
        for application in serve_config(two)["applications"]
        for entry in application["deployments"]
    ]
    least = [entry.get("autoscaling_config", {}).get("min_replicas", 1) for entry in entries]
    shares = [entry["ray_actor_options"].get("num_gpus", 0) for entry in entries]
    needed = sum(share * number for share, number in zip(shares, least, strict=True))
    assert needed <= int(container["resources"]["limits"]["nvidia.com/gpu"])


def test_the_head_starts_the_controller_as_a_local_service_does(manifests: list[Manifest]) -> None:
    (head,) = ray_groups(manifests)["head"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in head["env"]}
    assert variables.items() >= CONTROLLER_ENVIRONMENT.items()
