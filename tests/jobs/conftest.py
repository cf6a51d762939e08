"""The same store on SQLite and on PostgreSQL."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deployments.jobs.store import JobStore
from deployments.jobs.upgrade import upgrade
from tests.jobs.helpers import FakeClock
from tests.jobs.postgres_server import PostgresServer, postgres_server
from tests.jobs.s3_server import S3Server, s3_server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield server


@pytest.fixture
def s3_url(s3: S3Server) -> str:
    """URL of a folder in a new bucket."""
    bucket = f"bucket{next(_numbers)}"
    s3.client().create_bucket(Bucket=bucket)
    return f"s3://{bucket}/jobs"


@pytest.fixture(scope="session")
def migrated_postgres_url(postgres: PostgresServer) -> str:
    url = postgres.create_database("migrated")
    asyncio.run(upgrade(url))
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "jobs.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"empty{next(_numbers)}")


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """URL of a migrated SQLite database without rows."""
    shutil.copy(sqlite_template, tmp_path / "jobs.db")
    return f"sqlite:///{tmp_path}/jobs.db"


@pytest.fixture
def postgres_url(postgres: PostgresServer, migrated_postgres_url: str) -> str:
    """URL of a migrated PostgreSQL database without rows."""
    postgres.execute("TRUNCATE jobs, images, events, outbox, result_cache, files", "migrated")
    return migrated_postgres_url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a migrated database without rows."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(database_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[JobStore]:
    store = JobStore(database_url, str(tmp_path / "files"), clock=clock)
    yield store
    await store.close()


@pytest.fixture
async def other_store(
    database_url: str, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[JobStore]:
    """A second process's view of ``store``."""
    other = JobStore(database_url, str(tmp_path / "files"), clock=clock)
    yield other
    await other.close()
