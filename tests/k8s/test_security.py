"""Who reaches what, and as whom."""

import base64
import re
from typing import Any

from tests.k8s.rendered import (
    ROOT,
    Manifest,
    containers,
    of_kind,
    pods,
    ray_groups,
    ray_service,
    worker,
)

SERVE = 8000
METRICS = {8080, 44217, 44227}


def variables(path: str = ".env.green.example") -> set[str]:
    return set(re.findall(r"^([A-Z_0-9]+)=", (ROOT / path).read_text(), re.MULTILINE))


def ingress_rules(manifests: list[Manifest]) -> list[Manifest]:
    return [
        rule
        for policy in of_kind(manifests, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
    ]


def test_every_pod_is_behind_a_policy_for_both_directions(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        labels = pod["metadata"]["labels"].items()
        directions: set[str] = set()
        for policy in of_kind(manifests, "NetworkPolicy"):
            if policy["spec"]["podSelector"]["matchLabels"].items() <= labels:
                directions |= set(policy["spec"]["policyTypes"])
        assert directions == {"Ingress", "Egress"}, pod["metadata"]["name"]


def test_no_port_is_open_to_everybody(manifests: list[Manifest]) -> None:
    rules = ingress_rules(manifests)
    assert rules
    for rule in rules:
        assert rule.get("from"), rule
        assert all(
            peer.get("podSelector") or peer.get("namespaceSelector") for peer in rule["from"]
        )


def test_other_namespaces_reach_requests_metrics_and_the_operators_port_alone(
    manifests: list[Manifest],
) -> None:
    reached: dict[int, set[str]] = {}
    for rule in ingress_rules(manifests):
        for peer in rule["from"]:
            if "namespaceSelector" not in peer:
                continue
            (label,) = peer["namespaceSelector"]["matchLabels"].items()
            for port in rule["ports"]:
                reached.setdefault(port["port"], set()).add("=".join(label))
    operator = {"kubernetes.io/metadata.name=kuberay-system"}
    assert reached.pop(8265) == operator
    assert reached.pop(SERVE) == {"spheroserve.io/ingress=allowed"}
    assert reached.keys() == METRICS


def test_pods_meet_the_restricted_standard(manifests: list[Manifest]) -> None:
    for pod in pods(manifests):
        security = pod["spec"]["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] >= 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            assert_locked(container["securityContext"])
            assert set(container["resources"]) == {"requests", "limits"}
    (namespace,) = of_kind(manifests, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_so_does_the_autoscaler_that_the_operator_adds(manifests: list[Manifest]) -> None:
    cluster = ray_service(manifests)["spec"]["rayClusterConfig"]
    options = cluster["autoscalerOptions"]
    assert cluster["enableInTreeAutoscaling"] is True
    assert options["version"] == "v2"
    assert_locked(options["securityContext"])
    volumes = {v["name"] for v in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in options["volumeMounts"]} <= volumes


def assert_locked(security: Manifest) -> None:
    assert security == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_ray_can_write_where_it_must(manifests: list[Manifest]) -> None:
    for group in ray_groups(manifests).values():
        spec = group["template"]["spec"]
        mounts = {
            mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]
        }
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert "emptyDir" in volumes[mounts["/tmp"]]
        shm = volumes[mounts["/dev/shm"]]["emptyDir"]
        assert shm["medium"] == "Memory"
        store = int(group["rayStartParams"]["object-store-memory"])
        assert store < int(shm["sizeLimit"].removesuffix("Gi")) * 2**30


def test_ray_asks_for_a_token(manifests: list[Manifest]) -> None:
    cluster = ray_service(manifests)["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}


def test_workers_have_no_token_for_the_api_server(manifests: list[Manifest]) -> None:
    spec = worker(manifests)["template"]["spec"]
    accounts = {
        account["metadata"]["name"]: account for account in of_kind(manifests, "ServiceAccount")
    }
    assert spec["automountServiceAccountToken"] is False
    assert accounts[spec["serviceAccountName"]]["automountServiceAccountToken"] is False


def test_every_variable_of_the_example_reaches_the_worker_and_none_the_head(
    manifests: list[Manifest],
) -> None:
    secrets = {secret["metadata"]["name"]: secret for secret in of_kind(manifests, "Secret")}
    (container,) = worker(manifests)["template"]["spec"]["containers"]
    reached = {entry["name"] for entry in container["env"]}
    for source in container["envFrom"]:
        reached |= secrets[source["secretRef"]["name"]]["data"].keys()
    assert len(variables()) > 30
    assert variables() - reached == set()
    head = ray_groups(manifests)["head"]["template"]["spec"]["containers"][0]
    assert "envFrom" not in head
    assert {entry["name"] for entry in head["env"]} & variables() == set()


def test_api_keys_are_required_and_reach_the_worker(manifests: list[Manifest]) -> None:
    spec = worker(manifests)["template"]["spec"]
    (container,) = spec["containers"]
    path = value_of(container, "SPHEROSERVE_API_KEYS_FILE")
    mount = next(m for m in container["volumeMounts"] if path.startswith(m["mountPath"]))
    volume = next(v for v in spec["volumes"] if v["name"] == mount["name"])
    secrets = {secret["metadata"]["name"]: secret for secret in of_kind(manifests, "Secret")}
    data = secrets[volume["secret"]["secretName"]]["data"]
    keys = base64.b64decode(data[path.removeprefix(mount["mountPath"] + "/")])
    assert b'"sha256"' in keys
    assert "SPHEROSERVE_ALLOW_ANONYMOUS" not in {entry["name"] for entry in container["env"]}


def value_of(container: Manifest, name: str) -> str:
    values: list[Any] = [e["value"] for e in container["env"] if e["name"] == name]
    (value,) = values
    return str(value)


def test_secrets_change_their_name_with_their_content(green: list[Manifest]) -> None:
    for kind in ("spheroserve-env", "spheroserve-api-keys"):
        (name,) = (
            secret["metadata"]["name"]
            for secret in of_kind(green, "Secret")
            if secret["metadata"]["name"].startswith(kind)
        )
        assert re.fullmatch(rf"{kind}-[a-z0-9]{{10}}", name)


def test_one_image_by_digest_named_in_one_place(manifests: list[Manifest]) -> None:
    ours = {
        container["image"]
        for pod in pods(manifests)
        for container in containers(pod)
        if container["name"] != "redis"
    }
    (image,) = ours
    assert re.search(r"@sha256:[0-9a-f]{64}$", image)
    named = [
        path
        for path in (ROOT / "k8s").rglob("*.yaml")
        if image.partition("@")[0] in path.read_text(encoding="utf-8")
    ]
    assert named == [ROOT / "k8s" / "base" / "kustomization.yaml"]


def test_foreign_images_are_pinned_too(green: list[Manifest]) -> None:
    for pod in pods(green):
        for container in containers(pod):
            assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])


def test_the_head_sees_no_gpu(manifests: list[Manifest]) -> None:
    (head,) = ray_groups(manifests)["head"]["template"]["spec"]["containers"]
    assert value_of(head, "NVIDIA_VISIBLE_DEVICES") == "void"
    assert "nvidia.com/gpu" not in head["resources"]["limits"]


def test_production_needs_a_store_that_survives_a_machine(green: list[Manifest]) -> None:
    (container,) = worker(green)["template"]["spec"]["containers"]
    assert value_of(container, "SPHEROSERVE_HA") == "true"


def test_blue_is_green_by_another_name(k8s: Any) -> None:
    overlays = ROOT / "k8s" / "overlays"
    blue, green = (
        (overlays / name / "kustomization.yaml").read_text() for name in ("blue", "green")
    )
    assert blue.replace("spheroserve-blue", "spheroserve-green") == green
