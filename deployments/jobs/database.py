"""Connections and transactions on SQLite and PostgreSQL, and what their errors mean.

SQLite has one writer at a time: writes begin with BEGIN IMMEDIATE, because a transaction that
reads first and writes later fails when another wrote in between, and they queue up in an
asyncio lock, because SQLite's own waiting is not fair.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from sqlalchemy import URL, Connection, Table, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from deployments.errors import (
    ConfigurationError,
    InsufficientStorage,
    ServiceError,
    StoreUnavailable,
)

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
_BUSY_TIMEOUT_MS = 30_000
_POSTGRES_SETTINGS = {
    "application_name": "spheroserve",
    # A server that is told to acknowledge before its disk would break our promise.
    "synchronous_commit": "on",
    # A client that vanished within a transaction must not hold up the others for ever.
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
}
_NO_ANSWER = "the job store does not answer"
_SQLITE_READ = {"begin": "DEFERRED"}
_SQLITE_WRITE = {"begin": "IMMEDIATE"}
_POSTGRES_READ = {"isolation_level": "REPEATABLE READ"}
# SQLSTATEs and their classes, from appendix A of the PostgreSQL manual.
_POSTGRES_DISK_FULL = "53100"
# Wrong user or password; no such database.
_POSTGRES_REFUSED = ("28", "3D")
# Connection, idle in transaction, deadlock, resources, lock not available, operator.
_POSTGRES_UNAVAILABLE = ("08", "25P03", "40", "53", "55P03", "57P")
_SQLITE_UNAVAILABLE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)


def parse_url(database_url: str) -> URL:
    """Return the URL with the asynchronous driver that the store uses.

    Raises:
        ConfigurationError: It names neither SQLite nor PostgreSQL.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        # The text may hold a password, so it is not repeated.
        raise ConfigurationError("the database URL cannot be read") from None
    driver = _DRIVERS.get(url.get_backend_name())
    if driver is None:
        raise ConfigurationError(
            f"the job store runs on SQLite or PostgreSQL, not on {url.get_backend_name()!r}"
        )
    return url.set(drivername=driver)


class Database:
    """An engine and its two kinds of transaction."""

    def __init__(self, database_url: str) -> None:
        """Prepare connections; none is opened yet.

        Raises:
            ConfigurationError: The URL names neither SQLite nor PostgreSQL.
        """
        url = parse_url(database_url)
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self._sqlite_writer = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state of the database and changes nothing.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        options = _SQLITE_READ if self.is_sqlite else _POSTGRES_READ
        async with self._transaction(options) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is on disk when the block has ended without an error.

        Raises:
            InsufficientStorage: The disk is full; nothing was changed.
            StoreUnavailable: The database does not answer or stays locked. If the connection
                was lost during the commit, the change may have been made.
        """
        if self.is_sqlite:
            async with self._sqlite_writer, self._transaction(_SQLITE_WRITE) as connection:
                yield connection
        else:
            async with self._transaction({}) as connection:
                yield connection

    @asynccontextmanager
    async def _transaction(self, options: dict[str, str]) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            stack.enter_context(_translated_errors())
            try:
                connection = await stack.enter_async_context(self.engine.connect())
            except OSError as error:
                # asyncpg lets the errors of the network through while it connects.
                raise StoreUnavailable(_NO_ANSWER) from error
            await connection.execution_options(**options)
            async with connection.begin():
                yield connection

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that knows ON CONFLICT, which standard SQL does not."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # Transactions are begun by us, not by the driver.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {_BUSY_TIMEOUT_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        kind = connection.get_execution_options()["begin"]
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_pre_ping=True,
        connect_args={"server_settings": _POSTGRES_SETTINGS, "timeout": 10, "command_timeout": 60},
    )


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        translated = _translate(error)
        if translated is None:
            raise
        raise translated from error
    except TimeoutError as error:
        # A statement took longer than command_timeout.
        raise StoreUnavailable(_NO_ANSWER) from error


def _translate(error: DBAPIError) -> ServiceError | None:
    sqlstate = str(getattr(error.orig, "sqlstate", None) or "")
    sqlite_code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if sqlstate == _POSTGRES_DISK_FULL or sqlite_code == sqlite3.SQLITE_FULL:
        return InsufficientStorage("the disk of the job store is full")
    if sqlstate.startswith(_POSTGRES_REFUSED):
        return ConfigurationError("PostgreSQL refuses the user or the database of the URL")
    if (
        error.connection_invalidated
        or sqlstate.startswith(_POSTGRES_UNAVAILABLE)
        or sqlite_code in _SQLITE_UNAVAILABLE
    ):
        return StoreUnavailable(_NO_ANSWER)
    return None
