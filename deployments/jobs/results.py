"""The result cache: an image that was segmented before need not be again."""

import hashlib
import json
from collections.abc import Collection, Mapping

from sqlalchemy import select, update

from deployments.jobs.clock import Clock
from deployments.jobs.database import Database
from deployments.jobs.schema import files, result_cache


def cache_key(content: str, model_version: str, parameters: Mapping[str, object]) -> str:
    """Return the key of a result: SHA-256 (hex) of all that decides it.

    Args:
        content: SHA-256 (hex) of the image file.
        model_version: Name of the model and of its weights.
        parameters: What else the result depends on, as JSON values.
    """
    text = json.dumps([content, model_version, parameters], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ResultCache:
    """Result files by key, until they expire."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, key: str, result: str) -> None:
        """Remember a result file; the first one of a key stays."""
        statement = (
            self._database.insert(result_cache)
            .values(key=key, result=result, created_at=self._clock())
            .on_conflict_do_nothing(index_elements=["key"])
        )
        async with self._database.write() as connection:
            await connection.execute(statement)

    async def lookup(self, keys: Collection[str]) -> dict[str, str]:
        """Return the known result files by key.

        Their deletion is put off by the grace time, so that a job can name them meanwhile.
        """
        now = self._clock()
        known = select(result_cache.c.key, result_cache.c.result).where(
            result_cache.c.key.in_(keys)
        )
        async with self._database.write() as connection:
            found = {row.key: row.result for row in await connection.execute(known)}
            kept = (
                select(files.c.ref)
                .where(files.c.ref.in_(found.values()))
                .order_by(files.c.ref)
                .with_for_update()
            )
            refs = set((await connection.execute(kept)).scalars())
            await connection.execute(
                update(files).where(files.c.ref.in_(refs)).values(touched_at=now)
            )
            return {key: result for key, result in found.items() if result in refs}
