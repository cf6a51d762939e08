"""What is asked of each database, and what its errors become."""

import asyncio
import sqlite3
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import event, select, text

from deployments.errors import ConfigurationError, InsufficientStorage, StoreUnavailable
from deployments.jobs.database import Database
from deployments.jobs.schema import UtcDateTime, files
from deployments.jobs.store import JobStore
from tests.jobs.helpers import FakeClock, accept, finish, new_job


async def test_sqlite_syncs_each_commit_and_checks_references(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}
    async with database.write() as connection:
        for pragma, value in expected.items():
            found = await connection.exec_driver_sql(f"PRAGMA {pragma}")
            assert found.scalar_one() == value, pragma
    await database.close()


async def test_postgresql_syncs_each_commit_whatever_the_server_says(
    postgres_url: str,
) -> None:
    database = Database(postgres_url)
    async with database.write() as connection:
        for setting, value in {"synchronous_commit": "on", "lock_timeout": "10s"}.items():
            found = await connection.execute(text(f"SHOW {setting}"))
            assert found.scalar_one() == value, setting
    await database.close()


async def test_a_writer_locks_from_its_first_statement(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), timeout=0)
    async with database.write():
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        # Readers go on.
        async with database.read() as reader:
            assert (await reader.execute(select(files.c.ref))).all() == []
    other.execute("BEGIN IMMEDIATE")
    other.close()
    await database.close()


async def test_an_error_within_a_transaction_undoes_it(database_url: str) -> None:
    database = Database(database_url)
    row = {"ref": "a" * 64, "size": 1, "touched_at": FakeClock().now}

    async def fail() -> None:
        async with database.write() as connection:
            await connection.execute(files.insert().values(row))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    async with database.read() as connection:
        assert (await connection.execute(select(files.c.ref))).all() == []
    await database.close()


async def test_a_transaction_that_is_cancelled_is_undone_and_blocks_nobody(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await new_job(store)
    reached = asyncio.Event()

    async def stop(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr("deployments.jobs.jobs.append_events", stop)
        task = asyncio.create_task(store.jobs.create(request))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await store.jobs.list("lab", 10) == []
    await accept(store)
    assert len(await store.jobs.list("lab", 10)) == 1


async def test_a_full_database_is_reported_and_loses_nothing(
    sqlite_url: str, tmp_path: Path
) -> None:
    store = JobStore(sqlite_url, str(tmp_path / "files"))
    engine = store._database.engine

    @event.listens_for(engine.sync_engine, "connect")
    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.cursor().execute("PRAGMA max_page_count = 80")

    kept = await accept(store)
    with pytest.raises(InsufficientStorage):
        await accept(store, 20_000)
    assert [job.id for job in await store.jobs.list("lab", 10)] == [kept.id]
    assert (await finish(store, kept)).counts.succeeded == 1
    await store.close()


async def test_a_database_locked_by_another_process_is_unavailable(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.jobs.database._BUSY_TIMEOUT_MS", 10)
    store = JobStore(sqlite_url, str(tmp_path / "files"))
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await accept(store)
    other.rollback()
    other.close()
    await accept(store)
    await store.close()


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    for host in (f"/jobs?host={tmp_path}", "127.0.0.1:1/jobs"):
        database = Database(f"postgresql://postgres@{host}")
        for transaction in (database.read, database.write):
            with pytest.raises(StoreUnavailable):
                async with transaction():
                    pass
        await database.close()


async def test_a_database_that_does_not_exist_is_a_wrong_setting(postgres_url: str) -> None:
    database = Database(postgres_url.replace("/migrated?", "/nowhere?"))
    with pytest.raises(ConfigurationError):
        async with database.read():
            pass
    await database.close()


async def test_a_connection_cut_within_a_transaction_is_unavailable(postgres_url: str) -> None:
    database, killer = Database(postgres_url), Database(postgres_url)

    async def cut() -> None:
        async with database.write() as connection:
            pid = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with killer.write() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await connection.execute(select(files.c.ref))

    with pytest.raises(StoreUnavailable):
        await cut()
    async with database.read() as connection:
        assert (await connection.execute(select(files.c.ref))).all() == []
    await database.close()
    await killer.close()


def test_a_time_without_a_zone_is_refused() -> None:
    dialect = Database("sqlite:///unused.db").engine.dialect
    with pytest.raises(ValueError, match="time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), dialect)
