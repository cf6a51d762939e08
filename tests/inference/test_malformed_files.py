"""Hostile and damaged files, read in a child process as the service does."""

from collections.abc import AsyncIterator

import pytest

from deployments.errors import ImageTooLarge, InvalidImage
from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.reader import read_image
from deployments.inference.sandbox import Sandbox, SandboxLimits
from tests.corpus import NamedFile, malformed_files, mutated_files, valid_files

LIMITS = ImageLimits()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    pool = Sandbox(1, SandboxLimits(memory_bytes=512 << 20, cpu_seconds=5, wall_seconds=20))
    yield pool
    pool.close()


async def read_all(sandbox: Sandbox, files: list[NamedFile]) -> list[str]:
    """Return the names of the files that were read. A child that dies fails the test."""
    read = []
    for name, data in files:
        try:
            image = await sandbox.run(read_image, data, LIMITS)
        except (InvalidImage, ImageTooLarge):
            continue
        assert image.shape[2] == 3, name
        read.append(name)
    return read


async def test_malformed_files_are_refused(sandbox: Sandbox) -> None:
    files = malformed_files()
    assert len({data for _, data in files}) >= 100
    assert await read_all(sandbox, files) == []


async def test_valid_files_are_read(sandbox: Sandbox) -> None:
    files = valid_files()
    assert await read_all(sandbox, files) == [name for name, _ in files]


@pytest.mark.parametrize(
    "count", [500, pytest.param(20_000, marks=pytest.mark.long, id="thousands")]
)
async def test_mutated_files_are_read_or_refused(sandbox: Sandbox, count: int) -> None:
    read = await read_all(sandbox, mutated_files(count, seed=2026))
    assert 0 < len(read) < count
