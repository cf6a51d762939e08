"""The tables. A change here needs a migration (``migrations/versions``); a test compares both.

Every column that names a file is a foreign key to ``files``: the database itself refuses a
row whose file is not stored, and the deletion of a file that a row names.
"""

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from deployments.jobs.states import ImageState, JobState, MailState

_ID = String(36)
_SHA256 = String(64)
_STATE = String(16)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC, on databases with time zones (PostgreSQL) and without (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times: the database would guess their zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Attach UTC to what SQLite returns; convert what PostgreSQL returns."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _state_check(states: type[StrEnum]) -> CheckConstraint:
    names = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"state IN ({names})", name="state")


files = Table(
    "files",
    metadata,
    Column("ref", _SHA256, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("touched_at", UtcDateTime, nullable=False, index=True),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("tenant", String(255), nullable=False),
    Column("idempotency_key", String(255)),
    Column("request_hash", _SHA256, nullable=False),
    Column("model", String(255), nullable=False),
    Column("threshold", Float, nullable=False),
    Column("detect_holes", Boolean, nullable=False),
    Column("outputs", JSON, nullable=False),
    Column("notify", JSON, nullable=False),
    Column("locale", String(16), nullable=False),
    Column("state", _STATE, nullable=False),
    Column("error", Text),
    Column("last_event_id", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("cancel_requested_at", UtcDateTime),
    UniqueConstraint("tenant", "idempotency_key"),
    _state_check(JobState),
    Index(None, "tenant", "created_at", "id"),
    Index(None, "state", "created_at", "id"),
)

images = Table(
    "images",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("content", ForeignKey(files.c.ref), nullable=False, index=True),
    Column("state", _STATE, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_owner", String(255)),
    Column("lease_until", UtcDateTime),
    Column("error", Text),
    Column("timings", JSON, nullable=False),
    Column("result", ForeignKey(files.c.ref), index=True),
    _state_check(ImageState),
    Index(None, "job_id", "state", "position"),
    Index(None, "state", "lease_until"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("job_id", ForeignKey(jobs.c.id, ondelete="CASCADE")),
    Column("kind", String(64), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("locale", String(16), nullable=False),
    Column("data", JSON, nullable=False),
    Column("message_key", _SHA256, nullable=False, unique=True),
    Column("state", _STATE, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_owner", String(255)),
    Column("lease_until", UtcDateTime),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("last_reply", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    UniqueConstraint("job_id", "kind", "recipient"),
    _state_check(MailState),
    Index(None, "state", "next_attempt_at"),
)

result_cache = Table(
    "result_cache",
    metadata,
    Column("key", _SHA256, primary_key=True),
    Column("result", ForeignKey(files.c.ref), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False, index=True),
)
