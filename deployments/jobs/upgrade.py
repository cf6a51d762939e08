"""Brings a database to the schema of this version."""

import asyncio
import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from deployments.errors import ConfigurationError, StoreUnavailable
from deployments.jobs.database import Database
from deployments.jobs.files import make_folder

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number does, as long as nothing else in the database takes the same advisory lock.
_UPGRADE_LOCK = 7_294_183_512


async def upgrade(database_url: str) -> None:
    """Create or migrate the tables, in one transaction.

    Two processes may call it at once: the second waits, then finds nothing to do.

    Raises:
        ConfigurationError: The URL names neither SQLite nor PostgreSQL, or a folder that
            cannot be made.
        StoreUnavailable: The database does not answer.
    """
    database = Database(database_url)
    if database.is_sqlite:
        await asyncio.to_thread(_create_file, Path(database.engine.url.database or "").absolute())
    try:
        async with database.write() as connection:
            if not database.is_sqlite:
                await connection.execute(
                    text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK}
                )
            await connection.run_sync(_upgrade)
    finally:
        await database.close()


def alembic_config(connection: Connection) -> Config:
    """Return the configuration with which Alembic works on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _create_file(path: Path) -> None:
    """Make the file of a SQLite database and set its journal mode, which stays in it.

    SQLite does not wait for the lock that the mode takes, so processes that start at once take
    turns here.
    """
    try:
        make_folder(path.parent)
        folder = os.open(path.parent, os.O_RDONLY)
    except OSError as error:
        raise ConfigurationError(
            f"the folder of the database cannot be made: {error.strerror}"
        ) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"the job store cannot be opened: {error}") from error
    finally:
        os.close(folder)


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")
