"""Where the store may live: decided at start-up, before anything is accepted."""

from collections.abc import Callable
from pathlib import Path

import psutil

from deployments.errors import ConfigurationError
from deployments.jobs.database import parse_url
from deployments.jobs.files import local_folder

_SHARED_FILE_SYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "fuse.ceph-fuse",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "wekafs",
    }
)


def file_system(folder: Path) -> str:
    """Return the kind of file system a folder is on (or would be), such as ``ext4``."""
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    folder = folder.resolve()
    for parent in (folder, *folder.parents):
        if parent in mounts:
            return mounts[parent]
    return "unknown"


def check_store(
    database_url: str,
    data_dir: str,
    nodes: int,
    ha: bool,
    file_system: Callable[[Path], str] = file_system,
) -> None:
    """Refuse a store that would lose jobs, or that some node would not find.

    Args:
        nodes: Number of machines on which the service may run.
        ha: Whether jobs must survive the loss of a machine.
        file_system: Tells the kind of file system of a folder.

    Raises:
        ConfigurationError: In one sentence, what is needed.
    """
    url = parse_url(database_url)
    is_sqlite = url.get_backend_name() == "sqlite"
    folder = local_folder(data_dir)
    if data_dir.startswith("memory://") or (is_sqlite and url.database in (None, "", ":memory:")):
        raise ConfigurationError("the job store must be on disk: memory does not survive a restart")
    if is_sqlite:
        kind = file_system(Path(url.database or "").absolute().parent)
        # https://www.sqlite.org/wal.html: "WAL does not work over a network filesystem".
        if kind in _SHARED_FILE_SYSTEMS:
            raise ConfigurationError(
                f"SQLite does not work on the network file system {kind}: "
                "give a local file or the URL of a PostgreSQL database"
            )
    if nodes <= 1 and not ha:
        return
    reason = "with SPHEROSERVE_HA=true" if ha else f"on {nodes} nodes"
    needs = (
        f"{reason} the job store needs the URL of a PostgreSQL database and a data folder that "
        "every node reaches (a shared file system or a bucket)"
    )
    if is_sqlite:
        raise ConfigurationError(f"{needs}, but the database is SQLite")
    if folder is not None and (kind := file_system(folder)) not in _SHARED_FILE_SYSTEMS:
        raise ConfigurationError(f"{needs}, but {data_dir} is on the local file system {kind}")
