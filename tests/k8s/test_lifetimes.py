"""No request is cut by an upgrade or a drain, and the scripts in the pods do what they say."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from serve_app.settings import Settings
from tests.k8s.rendered import Manifest, of_kind, ray_groups, ray_service, serve_config, worker

# Beyond the time of one request: until the proxy cuts it.
PROXY_S = 15
LONGEST_REQUEST_S = Settings.model_fields["request_timeout_seconds"].default + PROXY_S


def fake_programs(folder: Path, **scripts: str) -> dict[str, str]:
    """An environment in which the named programs are ours."""
    for name, body in scripts.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_a_replaced_cluster_outlives_its_requests_and_connections(
    manifests: list[Manifest],
) -> None:
    keep_alive = serve_config(manifests)["http_options"]["keep_alive_timeout_s"]
    delay = ray_service(manifests)["spec"]["rayClusterDeletionDelaySeconds"]
    assert delay >= LONGEST_REQUEST_S + keep_alive


def test_a_worker_may_finish_its_requests(manifests: list[Manifest]) -> None:
    grace = worker(manifests)["template"]["spec"]["terminationGracePeriodSeconds"]
    # The hook begins with 15 s for load balancers and ends with Ray's own stop.
    assert grace >= 15 + LONGEST_REQUEST_S + 30


def test_starting_may_take_half_an_hour(manifests: list[Manifest]) -> None:
    annotations = ray_service(manifests)["metadata"]["annotations"]
    assert annotations["ray.io/initializing-timeout"] == "30m"


def test_pods_are_left_to_the_autoscaler_to_restart(manifests: list[Manifest]) -> None:
    for group in ray_groups(manifests).values():
        assert group["template"]["spec"]["restartPolicy"] == "Never"


def test_budgets_keep_one_of_each(manifests: list[Manifest]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    kept = {
        budget["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]: budget["spec"][
            "minAvailable"
        ]
        for budget in budgets
    }
    assert kept == {"head": 1, "worker": 1}


@pytest.mark.parametrize("group", ["head", "worker"])
@pytest.mark.parametrize(
    ("answers", "ready"), [("success", True), ("", False), ("unhealthy", False)]
)
def test_readiness_follows_the_answers(
    group: str, answers: str, ready: bool, green: list[Manifest], tmp_path: Path
) -> None:
    chosen = ray_groups(green)["head"] if group == "head" else worker(green)
    probe = chosen["template"]["spec"]["containers"][0]["readinessProbe"]
    environment = fake_programs(tmp_path, wget=f"echo {answers}")
    result = subprocess.run(probe["exec"]["command"], env=environment, check=False)
    assert (result.returncode == 0) is ready
    # KubeRay's own: one answer slower than 2 s makes a pod unready.
    assert probe["timeoutSeconds"] > 2 * 4
    assert probe["failureThreshold"] > 1


def test_a_worker_without_a_proxy_is_not_ready(green: list[Manifest], tmp_path: Path) -> None:
    probe = worker(green)["template"]["spec"]["containers"][0]["readinessProbe"]
    only_raylet = '[[ "${@: -1}" == *52365* ]] && echo success'
    environment = fake_programs(tmp_path, wget=only_raylet)
    result = subprocess.run(probe["exec"]["command"], env=environment, check=False)
    assert result.returncode != 0


def test_the_hook_waits_for_requests_in_flight(green: list[Manifest], tmp_path: Path) -> None:
    container = worker(green)["template"]["spec"]["containers"][0]
    # The gauge stands at 2, then at 1, then at 0; each question and each pause is noted.
    gauge = """
        n=$(grep -c wget log); echo wget >> log
        echo "ray_serve_replica_processing_queries{deployment=\\"ingress\\"} $((2 - n)).0"
        echo "ray_serve_replica_processing_queries{deployment=\\"hrnet\\"} 7.0"
    """
    environment = fake_programs(tmp_path, wget=gauge, sleep="echo sleep $1 >> log")
    (tmp_path / "log").touch()
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=20)
    log = (tmp_path / "log").read_text().split("\n")
    assert log[:-1] == ["sleep 15", "wget", "sleep 1", "wget", "sleep 1", "wget"]


def test_the_hook_ends_when_ray_answers_no_more(green: list[Manifest], tmp_path: Path) -> None:
    container = worker(green)["template"]["spec"]["containers"][0]
    environment = fake_programs(tmp_path, wget="exit 4", sleep="echo $1 >> log")
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=20)
    assert (tmp_path / "log").read_text() == "15\n"


@pytest.mark.parametrize("served", ["weights", "something else"])
def test_only_the_right_weights_are_taken(
    served: str, green: list[Manifest], tmp_path: Path
) -> None:
    (container,) = worker(green)["template"]["spec"]["initContainers"]
    folder = tmp_path / "weights"
    folder.mkdir()
    sums = tmp_path / "SHA256SUMS"
    digest = hashlib.sha256(b"weights").hexdigest()
    sums.write_text(f"{digest}  hrnet.safetensors\n")
    fetch = (
        'while [ "$1" != -O ]; do shift; done\n'
        f'[ "$3" = https://w.example.org/hrnet.safetensors ] && printf "{served}" > "$2"'
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    environment = {
        **fake_programs(programs, wget=fetch),
        "WEIGHTS_URL": "https://w.example.org",
        "SPHEROSERVE_WEIGHTS_DIR": str(folder),
        "SUMS": str(sums),
    }
    result = subprocess.run(container["command"], env=environment, check=False, capture_output=True)
    assert (result.returncode == 0) is (served == "weights")
    assert (folder / "hrnet.safetensors").read_text() == served
