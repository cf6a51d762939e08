"""Migrations: they make the schema of the code, once, whoever starts first."""

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect

from deployments.errors import ConfigurationError
from deployments.jobs.database import Database
from deployments.jobs.schema import metadata
from deployments.jobs.store import JobStore
from deployments.jobs.upgrade import alembic_config, upgrade
from tests.jobs.helpers import accept

_UPGRADE = """
import asyncio, sys
from deployments.jobs.upgrade import upgrade
sys.stdin.read()
asyncio.run(upgrade(sys.argv[1]))
"""


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def tables(url: str) -> set[str]:
    database = Database(url)
    try:
        async with database.read() as connection:
            return await connection.run_sync(_tables)
    finally:
        await database.close()


async def test_the_migrations_make_the_schema_of_the_code(empty_url: str) -> None:
    await upgrade(empty_url)
    database = Database(empty_url)

    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


async def test_upgrading_again_keeps_what_is_stored(empty_url: str, tmp_path: Path) -> None:
    for expected in (1, 2):
        store = await JobStore.open(empty_url, str(tmp_path / "files"))
        await accept(store)
        assert len(await store.jobs.list("lab", 10)) == expected
        await store.close()


def test_processes_that_start_at_once_all_come_up(empty_url: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", _UPGRADE, empty_url], stdin=subprocess.PIPE)
        for _ in range(2)
    ]
    # All have started and wait for the end of their input.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert asyncio.run(tables(empty_url)) >= set(metadata.tables)


def test_processes_take_turns_to_make_a_sqlite_file(tmp_path: Path) -> None:
    # SQLite itself does not wait for the lock that its journal mode takes: "database is locked".
    url = f"sqlite:///{tmp_path}/jobs.db"
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    process = subprocess.Popen([sys.executable, "-c", _UPGRADE, url], stdin=subprocess.DEVNULL)
    try:
        while not _waits_for_a_lock(process.pid):
            assert process.poll() is None, "it went ahead"
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(folder)
    assert process.wait(60) == 0
    assert asyncio.run(tables(url)) >= set(metadata.tables)


def _waits_for_a_lock(pid: int) -> bool:
    lines = Path("/proc/locks").read_text().splitlines()
    return any("-> FLOCK" in line and str(pid) in line.split() for line in lines)


async def test_the_migrations_can_be_undone(empty_url: str) -> None:
    await upgrade(empty_url)
    database = Database(empty_url)
    async with database.write() as connection:
        await connection.run_sync(
            lambda synchronous: command.downgrade(alembic_config(synchronous), "base")
        )
    await database.close()
    assert await tables(empty_url) == {"alembic_version"}


async def test_a_failed_migration_leaves_nothing(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last table of the migration cannot be made twice.
    database = Database(empty_url)
    async with database.write() as connection:
        await connection.run_sync(metadata.tables["files"].create)
        await connection.run_sync(
            lambda synchronous: metadata.tables["result_cache"].create(synchronous)
        )
        await connection.exec_driver_sql("ALTER TABLE files RENAME TO other")
    await database.close()
    with pytest.raises(Exception, match="already exists"):
        await upgrade(empty_url)
    assert await tables(empty_url) == {"other", "result_cache"}


async def test_a_folder_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        await upgrade("sqlite:////dev/null/jobs.db")
