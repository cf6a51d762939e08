"""What files declare agrees with what they hold, and no file can make the count fail."""

from deployments.inference.images.declared import count_pixels
from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.reader import read_image
from deployments.inference.sandbox import Sandbox, SandboxLimits
from tests.corpus import malformed_files, mutated_files, valid_files

LIMITS = ImageLimits(max_pixels=1_000_000)


def test_valid_files_declare_the_pixels_that_they_hold() -> None:
    files = valid_files()
    assert len(files) > 5
    total = 0
    for name, data in files:
        height, width = read_image(data, LIMITS).shape[:2]
        assert count_pixels([data], LIMITS) == height * width, name
        total += height * width
    assert count_pixels([data for _, data in files], LIMITS) == total


def test_a_file_above_the_limits_counts_nothing() -> None:
    valid = [data for _, data in valid_files()]
    assert count_pixels(valid, ImageLimits(max_pixels=1)) == 0
    assert count_pixels([b"", b"no image"], LIMITS) == 0


async def test_hostile_files_are_counted_within_the_limits_of_a_child_process() -> None:
    files = [data for _, data in [*malformed_files(), *mutated_files(300, seed=4)]]
    sandbox = Sandbox(1, SandboxLimits(memory_bytes=512 << 20, cpu_seconds=10, wall_seconds=60))
    try:
        counted = await sandbox.run(count_pixels, files, LIMITS)
    finally:
        sandbox.close()
    assert 0 <= counted <= len(files) * LIMITS.max_pixels
