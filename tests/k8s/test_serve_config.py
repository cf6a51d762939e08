"""What the operator hands to Serve is what our code and the node can take."""

import types
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel
from ray.serve.schema import ServeDeploySchema

from deployments.config import Tunables
from serve_app.app import InferenceArgs
from tests.k8s.rendered import Manifest, ray_groups, serve_config, worker

_QUANTITIES = {"m": 1e-3, "": 1.0}


def unknown_keys(value: object, annotation: Any, path: str = "") -> Iterator[str]:
    """Keys that a pydantic model would silently ignore, however deep."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for option in typing.get_args(annotation):
            yield from unknown_keys(value, option, path)
    elif typing.get_origin(annotation) is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_keys(item, typing.get_args(annotation)[0], f"{path}[{index}]")
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not isinstance(value, dict):
            return
        fields = annotation.model_fields
        yield from (f"{path}.{key}" for key in value if key not in fields)
        for key in set(value) & set(fields):
            yield from unknown_keys(value[key], fields[key].annotation, f"{path}.{key}")


def deployments(manifests: list[Manifest]) -> dict[str, dict[str, Any]]:
    applications = serve_config(manifests)["applications"]
    return {entry["name"]: entry for app in applications for entry in app["deployments"]}


def cpus(quantity: str) -> float:
    digits = quantity.rstrip("m")
    return float(digits) * _QUANTITIES[quantity.removeprefix(digits)]


def test_serve_accepts_it(manifests: list[Manifest]) -> None:
    config = serve_config(manifests)
    ServeDeploySchema.model_validate(config)
    assert list(unknown_keys(config, ServeDeploySchema)) == []


@pytest.mark.parametrize("place", ["top", "application", "deployment", "autoscaling", "actor"])
def test_an_unknown_key_is_found_where_serve_says_nothing(
    place: str, green: list[Manifest]
) -> None:
    config = serve_config(green)
    hrnet = config["applications"][0]["deployments"][0]
    {
        "top": config,
        "application": config["applications"][0],
        "deployment": hrnet,
        "autoscaling": hrnet["autoscaling_config"],
        "actor": hrnet["ray_actor_options"],
    }[place]["max_replica"] = 1
    found = [key for key in unknown_keys(config, ServeDeploySchema) if "max_replica" in key]
    assert len(found) == 1


def test_replicas_are_in_order(manifests: list[Manifest]) -> None:
    for entry in deployments(manifests).values():
        scaling = entry.get("autoscaling_config", {"min_replicas": 1, "max_replicas": 1})
        assert scaling["min_replicas"] <= scaling["max_replicas"]


def test_import_paths_resolve(manifests: list[Manifest]) -> None:
    for application in serve_config(manifests)["applications"]:
        module, _, attribute = application["import_path"].partition(":")
        assert callable(getattr(import_module(module), attribute))


def test_our_builders_accept_the_arguments(manifests: list[Manifest]) -> None:
    inference = serve_config(manifests)["applications"][0]
    args = InferenceArgs.model_validate(inference["args"])
    assert set(args.models) == {"hrnet", "resunet_small", "resunet_advanced"}
    for name in args.models:
        Tunables.model_validate(deployments(manifests)[name]["user_config"])


def test_the_fewest_replicas_fit_the_fewest_workers(manifests: list[Manifest]) -> None:
    group = worker(manifests)
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    gpus, processors, count = int(limits.get("nvidia.com/gpu", 0)), cpus(limits["cpu"]), 0
    for entry in deployments(manifests).values():
        replicas = entry.get("autoscaling_config", {}).get("min_replicas", 1)
        options = entry["ray_actor_options"]
        gpus -= replicas * options.get("num_gpus", 0)
        processors -= replicas * options["num_cpus"]
        count += replicas
    assert count >= 4
    assert gpus >= -1e-9
    assert processors > 0
    assert group["minReplicas"] == group["replicas"] == 1


def test_the_most_replicas_fit_the_most_workers(manifests: list[Manifest]) -> None:
    group = worker(manifests)
    (container,) = group["template"]["spec"]["containers"]
    per_worker = int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
    shares = [
        entry["ray_actor_options"].get("num_gpus", 0)
        for entry in deployments(manifests).values()
        for _ in range(entry.get("autoscaling_config", {}).get("max_replicas", 1))
    ]
    # First fit, as Ray packs: fractions of one replica never span two GPUs.
    free = [1.0] * per_worker * group["maxReplicas"]
    for share in sorted(filter(None, shares), reverse=True):
        place = next((i for i, rest in enumerate(free) if rest >= share - 1e-9), None)
        assert place is not None, f"no GPU has room for {share}"
        free[place] -= share


def test_only_profiles_with_gpus_ask_for_them(k8s: Any, manifests: list[Manifest]) -> None:
    (container,) = worker(manifests)["template"]["spec"]["containers"]
    asked = "nvidia.com/gpu" in container["resources"]["limits"]
    wanted = any(
        entry["ray_actor_options"].get("num_gpus", 0) > 0
        for entry in deployments(manifests).values()
    )
    assert asked == wanted


def test_the_head_takes_no_replica_and_no_request(manifests: list[Manifest]) -> None:
    start = ray_groups(manifests)["head"]["rayStartParams"]
    assert (start["num-cpus"], start["num-gpus"]) == ("0", "0")
