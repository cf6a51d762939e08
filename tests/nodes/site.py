"""A site with two workers on the CPU, as docs/deploy-kuberay.md makes one.

What differs from a real one, because all nodes are this machine: Ray runs as the user of the
tests; PostgreSQL is reached through a socket in a mounted folder; a mounted folder stands for
the bucket; weights come from a mounted folder.
"""

import secrets
from pathlib import Path

import yaml

from serve_app.api_keys import digest_of
from tests.k8s.rendered import Manifest, kustomize, make_site

WEIGHTS = "/weights"
_BUCKET = "/bucket"


def render_site(folder: Path, database_url: str, sockets: str) -> tuple[list[Manifest], str]:
    """Render the overlay; return it and an API key.

    Args:
        folder: An empty folder; gets ``k8s``, ``weights`` and ``bucket``.
        database_url: URL of an empty PostgreSQL database.
        sockets: Folder of the server's socket.
    """
    k8s = make_site(folder)
    key = f"sps_{secrets.token_urlsafe(32)}"
    keys = f'{{"keys": [{{"name": "tests", "sha256": "{digest_of(key)}", "scope": "operator"}}]}}'
    dotenv = k8s / "components" / "dotenv-secret"
    (dotenv / "api-keys.json").write_text(keys)
    changed = {
        "SPHEROSERVE_DATABASE_URL": database_url,
        "FSSPEC_FILE": '{"auto_mkdir": true}',
        "OPS_EMAIL": "",
        # What a dead worker had begun is taken over soon.
        "SPHEROSERVE_LEASE_SECONDS": "3",
    }
    lines = (dotenv / ".env.green").read_text().splitlines()
    kept = [line for line in lines if line.partition("=")[0] not in changed]
    (dotenv / ".env.green").write_text(
        "\n".join([*kept, *(f"{name}={value}" for name, value in changed.items())]) + "\n"
    )
    overlay = k8s / "overlays" / "nodes"
    overlay.mkdir()
    mounts = {
        "bucket": (_BUCKET, folder / "bucket"),
        "weights": (WEIGHTS, folder / "weights"),
        "sockets": (sockets, Path(sockets)),
    }
    for _, place in mounts.values():
        place.mkdir(exist_ok=True)
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(_kustomization(mounts)))
    return kustomize(overlay), key


def _kustomization(mounts: dict[str, tuple[str, Path]]) -> Manifest:
    group = "/spec/rayClusterConfig/workerGroupSpecs/0"
    spec = f"{group}/template/spec"
    patch: list[Manifest] = [
        {"op": "replace", "path": f"{group}/maxReplicas", "value": 2},
        # After the one of the overlay `dev`, which is a folder of one pod; the last one holds.
        {
            "op": "add",
            "path": f"{spec}/containers/0/env/-",
            # fsspec's name for a folder, seen as a bucket.
            "value": {"name": "SPHEROSERVE_DATA_DIR", "value": f"dir::file://{_BUCKET}"},
        },
    ]
    for name, (path, source) in mounts.items():
        volume = {"name": name, "hostPath": {"path": str(source)}}
        patch.append({"op": "add", "path": f"{spec}/volumes/-", "value": volume})
        mount = {"name": name, "mountPath": path}
        patch.append({"op": "add", "path": f"{spec}/containers/0/volumeMounts/-", "value": mount})
    return {
        "namespace": "spheroserve-nodes",
        "resources": ["../dev"],
        "components": ["../../components/postgres", "../../components/two-workers"],
        "patches": [{"target": {"kind": "RayService"}, "patch": yaml.safe_dump(patch)}],
    }
