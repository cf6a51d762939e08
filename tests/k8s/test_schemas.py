"""The objects and the pods that come of them satisfy the schemas."""

import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.k8s.rendered import OVERLAYS, ROOT, Manifest, kustomize, overlay, pods, with_component

SHARED = ROOT.parent / "shared"
KUBERNETES = "1.36"
CORE_GROUPS = {"v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"}


def test_core_objects(manifests: list[Manifest]) -> None:
    core = [manifest for manifest in manifests if manifest["apiVersion"] in CORE_GROUPS]
    assert len(core) >= 8
    for manifest in core:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_pods(manifests: list[Manifest]) -> None:
    found = pods(manifests)
    assert len(found) >= 2, "a head and a worker"
    for pod in found:
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_a_wrong_pod_is_refused(green: list[Manifest]) -> None:
    pod = pods(green)[0]
    wrong = {**pod, "spec": {**pod["spec"], "hostNetworks": True}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the CRDs are in ../shared, which is not here")
def test_custom_resources(k8s: Path, tmp_path: Path) -> None:
    rendered = {name: overlay(k8s, name) for name in OVERLAYS}
    for colour in ("green", "blue"):
        rendered[f"route {colour}"] = kustomize(k8s / "route" / colour)
    for component in ("two-workers", "tracing"):
        rendered[component] = with_component(tmp_path / component, component)
    paths = []
    for name, objects in rendered.items():
        paths.append(tmp_path / f"{name}.yaml")
        paths[-1].write_text(yaml.safe_dump_all(objects))
    validator, crds = SHARED / "tools" / "validate_k8s.py", SHARED / "k8s" / "crds"
    command = [sys.executable, str(validator), str(crds), *map(str, paths)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(", 0 errors, 0 CEL skipped") == len(paths), result.stdout
