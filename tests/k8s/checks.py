"""Faults that the schemas of Kubernetes let pass: nine that were seen to slip through."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

import yaml

from tests.k8s.rendered import Manifest, containers, of_kind, pods

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ACCESS_MODES = {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"}
_UPGRADES = {"NewCluster", "NewClusterWithIncrementalUpgrade", "None"}
# KubeRay puts a suffix behind the name of a RayService.
_LONGEST_RAY_NAME = 47


def faults(manifests: list[Manifest]) -> list[str]:
    """Everything that is wrong, one sentence each."""
    found: list[str] = []
    for manifest in manifests:
        found += _names(manifest)
    for policy in of_kind(manifests, "NetworkPolicy"):
        found += _network_policy(policy)
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        if {"minAvailable", "maxUnavailable"} <= set(budget["spec"]):
            found.append("PodDisruptionBudget with both bounds")
    for claim in _claims(manifests):
        for mode in set(claim["spec"]["accessModes"]) - _ACCESS_MODES:
            found.append(f"access mode {mode}")
    for service in of_kind(manifests, "RayService"):
        found += _ray_service(service)
    for pod in pods(manifests):
        found += _pod(pod)
    return found


def _names(manifest: Manifest) -> Iterator[str]:
    name = manifest["metadata"]["name"]
    longest = _LONGEST_RAY_NAME if manifest["kind"] == "RayService" else 253
    if len(name) > longest or not all(map(_DNS_LABEL.fullmatch, name.split("."))):
        yield f"name {name}"


def _network_policy(policy: Manifest) -> Iterator[str]:
    for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
        for port in rule.get("ports", []):
            if port.get("protocol", "TCP") not in {"TCP", "UDP", "SCTP"}:
                yield f"protocol {port['protocol']}"
        for peer in rule.get("from", []) + rule.get("to", []):
            block = peer.get("ipBlock")
            for cidr in [block["cidr"], *block.get("except", [])] if block else []:
                try:
                    ipaddress.ip_network(cidr)
                except ValueError as error:
                    yield f"CIDR {error}"


def _claims(manifests: list[Manifest]) -> Iterator[Manifest]:
    yield from of_kind(manifests, "PersistentVolumeClaim")
    for workload in of_kind(manifests, "StatefulSet"):
        yield from workload["spec"].get("volumeClaimTemplates", [])


def _ray_service(service: Manifest) -> Iterator[str]:
    kind = service["spec"].get("upgradeStrategy", {}).get("type", "NewCluster")
    if kind not in _UPGRADES:
        yield f"upgradeStrategy {kind}"
    try:
        config: Any = yaml.safe_load(service["spec"]["serveConfigV2"])
    except yaml.YAMLError as error:
        yield f"serveConfigV2: {error}"
        return
    if not isinstance(config, dict) or "applications" not in config:
        yield "serveConfigV2 without applications"


def _pod(pod: Manifest) -> Iterator[str]:
    names = [container["name"] for container in containers(pod)]
    for name in {name for name in names if names.count(name) > 1}:
        yield f"two containers {name}"
    volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
    # A StatefulSet's claims are volumes of its pods.
    claimed = {"data"} if pod["metadata"]["name"].endswith("redis") else set()
    for container in containers(pod):
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes | claimed:
                yield f"{container['name']} mounts {mount['name']}, which is no volume"
