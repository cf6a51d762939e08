"""A copy of the manifests with the files that only a site has."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
OVERLAYS = ("dev", "green", "blue")
KUBECTL = str(Path(sys.executable).parent / "kubectl")

Manifest = dict[str, Any]


def make_site(folder: Path) -> Path:
    """Copy k8s/ into a folder and write what docs/deploy-kuberay.md tells a site to write."""
    k8s = folder / "k8s"
    shutil.copytree(ROOT / "k8s", k8s)
    secrets, weights = k8s / "components" / "dotenv-secret", k8s / "components" / "weights"
    shutil.copy(ROOT / ".env.green.example", secrets / ".env.green")
    (secrets / "api-keys.json").write_text(
        '{"keys": [{"name": "lab", "sha256": "%s"}]}' % ("a" * 64)
    )
    (weights / "weights.env").write_text("WEIGHTS_URL=https://weights.example.org\n")
    (weights / "SHA256SUMS").write_text(f"{'b' * 64}  hrnet.safetensors\n")
    return k8s


def kustomize(folder: Path) -> list[Manifest]:
    """Render a kustomization as ``kubectl apply -k`` would."""
    result = subprocess.run(
        [KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


@cache
def overlay(k8s: Path, name: str) -> list[Manifest]:
    """Render one overlay, once for all tests."""
    return kustomize(k8s / "overlays" / name)


def with_component(folder: Path, name: str) -> list[Manifest]:
    """Render the overlay for production of a site of its own, with one component more."""
    path = make_site(folder) / "overlays" / "green" / "kustomization.yaml"
    kustomization = yaml.safe_load(path.read_text(encoding="utf-8"))
    kustomization["components"].append(f"../../components/{name}")
    path.write_text(yaml.safe_dump(kustomization), encoding="utf-8")
    return kustomize(path.parent)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """The objects of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def ray_service(manifests: list[Manifest]) -> Manifest:
    """The one RayService."""
    (service,) = of_kind(manifests, "RayService")
    return service


def serve_config(manifests: list[Manifest]) -> dict[str, Any]:
    """What the operator hands to Serve."""
    config: dict[str, Any] = yaml.safe_load(ray_service(manifests)["spec"]["serveConfigV2"])
    return config


def ray_groups(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Head and worker groups of the RayService by name."""
    cluster = ray_service(manifests)["spec"]["rayClusterConfig"]
    return {
        "head": cluster["headGroupSpec"],
        **{group["groupName"]: group for group in cluster["workerGroupSpecs"]},
    }


def worker(manifests: list[Manifest]) -> Manifest:
    """The one worker group."""
    (group,) = (group for name, group in ray_groups(manifests).items() if name != "head")
    return group


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The pods that the operator and the controllers would start."""
    found = [
        as_pod(name, group["template"])
        for service in of_kind(manifests, "RayService")
        for name, group in ray_groups([service]).items()
    ]
    found += [
        as_pod(workload["metadata"]["name"], workload["spec"]["template"])
        for workload in of_kind(manifests, "StatefulSet")
    ]
    return found


def as_pod(name: str, template: Manifest) -> Manifest:
    """A pod template as a Pod."""
    metadata = {**template.get("metadata", {}), "name": name, "namespace": "test"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, those that run first included."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]
