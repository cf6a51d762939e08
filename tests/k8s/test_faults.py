"""The overlays have none of the faults that schemas miss, and the checks find each of them."""

import copy
from collections.abc import Callable

import pytest

from tests.k8s.checks import faults
from tests.k8s.rendered import Manifest, of_kind, ray_service, worker


def test_overlays_have_none(manifests: list[Manifest]) -> None:
    assert faults(manifests) == []


def bad_cidr(objects: list[Manifest]) -> None:
    policy = of_kind(objects, "NetworkPolicy")[0]
    policy["spec"]["egress"].append({"to": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]})


def bad_protocol(objects: list[Manifest]) -> None:
    policy = of_kind(objects, "NetworkPolicy")[0]
    policy["spec"]["egress"].append({"ports": [{"port": 1, "protocol": "HTTP"}]})


def both_bounds(objects: list[Manifest]) -> None:
    of_kind(objects, "PodDisruptionBudget")[0]["spec"]["maxUnavailable"] = 1


def bad_access_mode(objects: list[Manifest]) -> None:
    (redis,) = of_kind(objects, "StatefulSet")
    redis["spec"]["volumeClaimTemplates"][0]["spec"]["accessModes"] = ["ReadWriteTwice"]


def bad_name(objects: list[Manifest]) -> None:
    of_kind(objects, "Service")[0]["metadata"]["name"] = "under_score"


def two_containers(objects: list[Manifest]) -> None:
    group = worker(objects)["template"]["spec"]
    group["containers"].append(group["containers"][0])


def bad_upgrade(objects: list[Manifest]) -> None:
    ray_service(objects)["spec"]["upgradeStrategy"]["type"] = "Rolling"


def broken_serve_config(objects: list[Manifest]) -> None:
    ray_service(objects)["spec"]["serveConfigV2"] = "applications: ["


def mount_without_volume(objects: list[Manifest]) -> None:
    volumes = worker(objects)["template"]["spec"]["volumes"]
    volumes[:] = [volume for volume in volumes if volume["name"] != "weights"]


@pytest.mark.parametrize(
    "seed",
    [
        bad_cidr,
        bad_protocol,
        both_bounds,
        bad_access_mode,
        bad_name,
        two_containers,
        bad_upgrade,
        broken_serve_config,
        mount_without_volume,
    ],
)
def test_each_is_found(seed: Callable[[list[Manifest]], None], green: list[Manifest]) -> None:
    seeded = copy.deepcopy(green)
    seed(seeded)
    assert faults(seeded) != []
