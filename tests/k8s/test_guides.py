"""The commands of the guides that need no cluster do what the guides say."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
import yaml

from serve_app.cli import cli
from tests.k8s.rendered import ROOT, Manifest, containers, of_kind, pods, worker

DOCS = ROOT / "docs"
DIGEST = "sha256:" + "c" * 64

# contract: what SpheroSeg's compose file and its services read.
SPHEROSEG = [
    "ADMIN_EMAIL",
    "EMAIL_ALLOW_INSECURE",
    "EMAIL_DEBUG",
    "EMAIL_GLOBAL_TIMEOUT",
    "EMAIL_MAX_RETRIES",
    "EMAIL_RETRY_BACKOFF_FACTOR",
    "EMAIL_RETRY_INITIAL_DELAY",
    "EMAIL_RETRY_MAX_DELAY",
    "EMAIL_SERVICE",
    "EMAIL_TIMEOUT",
    "FROM_EMAIL",
    "FROM_NAME",
    "FRONTEND_URL",
    "GPU_MEMORY_THRESHOLD",
    "MIN_BATCH_SIZE",
    "ML_ENABLE_PARALLEL_INFERENCE",
    "ML_GPU_PRIORITY",
    "ML_INFERENCE_TIMEOUT",
    "ML_INFERENCE_WORKERS",
    "ML_MAX_CONCURRENT_USERS",
    "ML_MEMORY_LIMIT_GB",
    "PORT",
    "PYTORCH_CUDA_ALLOC_CONF",
    "REQUIRE_EMAIL_VERIFICATION",
    "SEGMENTATION_SERVICE_URL",
    "SENDGRID_API_KEY",
    "SKIP_EMAIL_SEND",
    "SMTP_AUTH",
    "SMTP_CONNECTION_TIMEOUT_MS",
    "SMTP_DEBUG",
    "SMTP_GREETING_TIMEOUT_MS",
    "SMTP_HOST",
    "SMTP_IGNORE_TLS",
    "SMTP_PASS",
    "SMTP_PORT",
    "SMTP_REQUIRE_TLS",
    "SMTP_SECURE",
    "SMTP_SOCKET_TIMEOUT_MS",
    "SMTP_USER",
    "TEST_EMAIL",
    "VITE_ML_SERVICE_URL",
]


def guide(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[str]:
    """The commands of a guide that it marks as tested."""
    return re.findall(r"\*Tested:\*\n\n```sh\n(.*?)```", guide(name), re.DOTALL)


def run(script: str, folder: Path, **variables: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which somebody has followed the guide for KubeRay."""
    clone = tmp_path_factory.mktemp("clone")
    ignored = shutil.ignore_patterns(".env.green", "api-keys.json", "SHA256SUMS", "weights.env")
    shutil.copytree(ROOT / "k8s", clone / "k8s", ignore=ignored)
    shutil.copy(ROOT / ".env.green.example", clone)
    (clone / "weights").mkdir()
    (clone / "weights" / "hrnet.safetensors").write_bytes(b"weights")
    script = "".join(blocks("deploy-kuberay.md"))
    # Bash reads a line of its own as it comes; one script keeps the order of the guide.
    run(script, clone, PINNED=f"registry.lab.example/spheroserve@{DIGEST}")
    return clone


def rendered(path: Path) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def test_the_guide_marks_commands() -> None:
    assert len(blocks("deploy-kuberay.md")) == 5
    assert len(blocks("deploy-server.md")) == 2


def test_the_image_is_the_one_that_was_pushed(followed: Path) -> None:
    for overlay in ("dev", "green"):
        images = {
            container["image"]
            for pod in pods(rendered(followed / f"{overlay}.yaml"))
            for container in containers(pod)
            if container["name"] != "redis"
        }
        assert images == {f"registry.lab.example/spheroserve@{DIGEST}"}


def test_the_weights_are_those_of_the_site(followed: Path) -> None:
    objects = rendered(followed / "green.yaml")
    (weights,) = (
        config
        for config in of_kind(objects, "ConfigMap")
        if config["metadata"]["name"].startswith("spheroserve-weights")
    )
    assert weights["data"]["SHA256SUMS"].split()[1] == "hrnet.safetensors"
    volumes = worker(objects)["template"]["spec"]["volumes"]
    (sums,) = (volume for volume in volumes if volume["name"] == "sums")
    assert sums["configMap"]["name"] == weights["metadata"]["name"]


def test_the_example_changes_no_committed_configuration(followed: Path) -> None:
    for path in ("base/serve-config.yaml", "overlays/dev/serve-config.yaml"):
        assert (followed / "k8s" / path).read_text() == (ROOT / "k8s" / path).read_text()


@pytest.mark.parametrize("colour", ["green", "blue"])
def test_the_route_sends_everything_to_one_colour(colour: str, followed: Path) -> None:
    script = f"kubectl kustomize k8s/route/{colour} > {colour}-route.yaml"
    run(script, followed)
    (route,) = of_kind(rendered(followed / f"{colour}-route.yaml"), "HTTPRoute")
    for rule in route["spec"]["rules"]:
        weights = {ref["namespace"]: ref["weight"] for ref in rule["backendRefs"]}
        assert weights.pop(f"spheroserve-{colour}") == 100
        assert set(weights.values()) == {0}


def test_a_backup_can_be_restored(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup"
    (data / "blobs").mkdir(parents=True)
    backup.mkdir()
    (data / "blobs" / "image").write_bytes(b"pixels")
    with sqlite3.connect(data / "jobs.db") as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE jobs (id TEXT)")
        database.execute("INSERT INTO jobs VALUES ('one')")
    save, restore = blocks("deploy-server.md")
    variables = {"DATA": str(data), "BACKUP": str(backup)}
    # The database is open, as that of a running service is.
    run(save, tmp_path, **variables)
    database.close()
    shutil.rmtree(data)
    run(restore, tmp_path, **variables)
    with sqlite3.connect(data / "jobs.db") as restored:
        assert restored.execute("SELECT id FROM jobs").fetchall() == [("one",)]
    restored.close()
    assert (data / "blobs" / "image").read_bytes() == b"pixels"


def test_every_variable_of_spheroseg_has_its_row() -> None:
    rows = re.findall(r"^\| ((?:`\w+`,? ?)+)\|", guide("deploy-server.md"), re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(rows))) == sorted(SPHEROSEG)


def test_our_side_of_the_table_exists() -> None:
    known = set(re.findall(r"^(\w+)=", (ROOT / ".env.green.example").read_text(), re.MULTILINE))
    for row in re.findall(r"^\| `\w+.*?\|(.*?)\|", guide("deploy-server.md"), re.MULTILINE):
        named = set(re.findall(r"`((?:SPHEROSERVE|EMAIL|SMTP|OPS)_[A-Z_]+)", row))
        assert named <= known, row


def test_the_unit_starts_what_the_guide_says() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy" / "spheroserve.service", encoding="utf-8")
    service = unit["Service"]
    command = shlex.split(service["ExecStart"])
    assert command[0] == "/opt/spheroserve/.venv/bin/spheroserve"
    up = cli.commands[command[1]]
    assert up.make_context("up", command[2:]).params["host"] == "127.0.0.1"
    assert service["EnvironmentFile"] in guide("deploy-server.md")
    assert service["WorkingDirectory"] in guide("deploy-server.md")
    # `up` ends within 15 s; Ray's processes would not drain if all heard the signal.
    assert int(service["TimeoutStopSec"]) > 15
    assert service["KillMode"] == "mixed"
    # It would hide the GPU.
    assert "PrivateDevices" not in service
