"""The Dockerfile, and how scripts/try_image runs what is built from it."""

import fnmatch
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.k8s.rendered import ROOT, Manifest, containers, pods, worker

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    """Word and rest of every instruction, with continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage; what stands before the first belongs to none."""
    found: list[list[Instruction]] = []
    for instruction in instructions():
        if instruction[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(instruction)
    return found


def copied() -> list[str]:
    """What the stages take from the repository."""
    return [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def passes_dockerignore(path: str) -> bool:
    """Whether the builder sees a path: the last rule that matches decides."""
    seen = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        rule = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        anywhere = line.startswith("**/") and any(fnmatch.fnmatch(part, rule) for part in parts)
        if anywhere or any(fnmatch.fnmatch(prefix, rule) for prefix in prefixes):
            seen = line.startswith("!")
    return seen


def test_both_stages_begin_with_the_same_image_by_digest() -> None:
    word, default = instructions()[0]
    assert word == "ARG"
    assert re.fullmatch(r"BASE=python:3\.11\.\d+-slim-\w+@sha256:[0-9a-f]{64}", default)
    assert [stage[0][1].split()[0] for stage in stages()] == ["${BASE}", "${BASE}"]


def test_the_user_is_that_of_the_pods(green: list[Manifest]) -> None:
    (user,) = (rest for word, rest in stages()[-1] if word == "USER")
    ours = [pod for pod in pods(green) if any("spheroserve" in c["image"] for c in containers(pod))]
    for pod in ours:
        security = pod["spec"]["securityContext"]
        assert user == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert ours
    assert "0" not in user.split(":")


def test_the_last_stage_installs_what_the_probes_need_and_no_compiler() -> None:
    (installed,) = (rest for word, rest in stages()[-1] if word == "RUN")
    packages = re.search(r"--no-install-recommends (.*?) &&", installed)
    assert packages is not None
    # bash and grep are essential packages of Debian; the base image has no wget.
    assert packages[1].split() == ["wget"]
    assert not any(word == "COPY" and "/src" in rest for word, rest in stages()[-1])


def test_an_image_is_tried_as_the_pods_run_it(green: list[Manifest]) -> None:
    script = (ROOT / "scripts" / "try_image").read_text(encoding="utf-8")
    flags = re.search(r"as_pod=\((.*?)\n\)", script, re.DOTALL)
    assert flags is not None
    pod = worker(green)["template"]["spec"]
    (container,) = pod["containers"]
    user, security = pod["securityContext"], container["securityContext"]
    assert f"--user {user['runAsUser']}:{user['runAsGroup']}" in flags[1]
    assert security["readOnlyRootFilesystem"]
    assert "--read-only" in flags[1]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert "--cap-drop ALL" in flags[1]
    assert security["allowPrivilegeEscalation"] is False
    assert "--security-opt no-new-privileges" in flags[1]
    temporary = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
    paths = {
        mount["mountPath"]
        for mount in container["volumeMounts"]
        if mount["name"] in temporary and not mount.get("readOnly", False)
    }
    assert paths == {"/tmp", "/dev/shm"}
    assert "--tmpfs /tmp:" in flags[1]
    assert "--shm-size" in flags[1]


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    for source in copied():
        assert (ROOT / source).exists(), source
        assert passes_dockerignore(source), source


@pytest.mark.parametrize(
    "path",
    [
        ".env.green",
        "deployments/.env.green",
        "k8s/components/dotenv-secret/api-keys.json",
        "weights/hrnet.safetensors",
        "deployments/hrnet.pth",
        ".git/config",
        "serve_app/__pycache__/app.cpython-311.pyc",
    ],
)
def test_secrets_and_leftovers_do_not(path: str) -> None:
    assert not passes_dockerignore(path)


def test_no_instruction_carries_a_secret() -> None:
    for word, rest in instructions():
        if word in {"ENV", "ARG"}:
            assert not re.search(r"pass|secret|token|key", rest, re.IGNORECASE), rest


def test_the_requirements_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = next(rest for word, rest in stages()[0] if word == "RUN" and "requirements" in rest)
    asked = re.match(r"\./requirements ([\w ]+) > requirements\.txt", command)
    assert asked is not None
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "requirements", *asked[1].split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.split()
    assert set(project["dependencies"]) <= set(lines)
    # Buckets are spoken to through it.
    assert any(line.startswith("s3fs==") for line in lines)


def test_the_package_builds_from_what_is_copied(tmp_path: Path) -> None:
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, symlinks=True)
        else:
            shutil.copy(ROOT / source, tmp_path)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "deployments/configs/models.yaml" in names
    assert "serve_app/app.py" in names
