"""Files by content, in a folder and in a bucket."""

import errno
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployments.errors import ConfigurationError, InsufficientStorage, NotFound, StoreUnavailable
from deployments.jobs.files import FileStore, content_ref, open_file_store


@pytest.fixture(params=["folder", "file-url", "memory", "s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    places = {
        "folder": str(tmp_path / "data"),
        "file-url": f"file://{tmp_path}/data",
        "memory": f"memory://{tmp_path.name}",
    }
    if request.param == "s3":
        return open_file_store(request.getfixturevalue("s3_url"))
    return open_file_store(places[request.param])


def test_bytes_come_back_under_the_name_of_their_content(files: FileStore) -> None:
    for data in (b"", b"an image", bytes(range(256)) * 5000):
        ref = files.put(data)
        assert ref == content_ref(data)
        assert files.read(ref) == data
        assert files.put(data) == ref


def test_a_deleted_file_is_gone_and_can_be_put_again(files: FileStore) -> None:
    ref = files.put(b"an image")
    files.delete(ref)
    files.delete(ref)
    with pytest.raises(NotFound):
        files.read(ref)
    files.put(b"an image")
    assert files.read(ref) == b"an image"


@pytest.mark.parametrize("ref", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n"])
def test_only_refs_reach_the_file_system(files: FileStore, ref: str) -> None:
    with pytest.raises(NotFound):
        files.read(ref)
    with pytest.raises(NotFound):
        files.delete(ref)


def test_a_file_is_synced_before_it_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_file_store(str(tmp_path))
    ref = content_ref(b"an image")
    path = tmp_path / ref[:2] / ref
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    files.put(b"an image")
    (written, before), *folders = synced
    assert Path(written).parent == tmp_path / "incoming"
    assert not before
    # The name itself is in the folder, and the folder's name in the one above.
    assert folders == [(str(path.parent), True), (str(tmp_path), True)]


def test_a_full_disk_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = open_file_store(str(tmp_path))
    kept = files.put(b"accepted before")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InsufficientStorage):
            files.put(b"too much")
    assert list((tmp_path / "incoming").iterdir()) == []
    with pytest.raises(NotFound):
        files.read(content_ref(b"too much"))
    assert files.read(kept) == b"accepted before"
    assert files.read(files.put(b"too much")) == b"too much"


def test_a_really_full_disk(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        files = open_file_store(str(tmp_path / "data"))
        kept = files.put(b"accepted before")
        with pytest.raises(InsufficientStorage):
            files.put(bytes(1_000_000))
        assert files.read(kept) == b"accepted before"
        assert files.read(files.put(b"a small one")) == b"a small one"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_only_what_was_abandoned_long_ago_is_swept(tmp_path: Path) -> None:
    files = open_file_store(str(tmp_path))
    ref = files.put(b"an image")
    cutoff = datetime(2026, 1, 2, tzinfo=UTC)
    for name, day in (("old", 1), ("young", 3)):
        path = tmp_path / "incoming" / name
        path.write_bytes(b"half an im")
        written = datetime(2026, 1, day, tzinfo=UTC).timestamp()
        os.utime(path, (written, written))
    os.utime(tmp_path / ref[:2] / ref, (0, 0))
    files.delete_abandoned(cutoff)
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["young"]
    assert files.read(ref) == b"an image"


def test_a_bucket_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    files = open_file_store("memory://bucket")
    ref = files.put(b"an image")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.pipe_file", refuse)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_file", refuse)
    with pytest.raises(StoreUnavailable):
        files.put(b"an image")
    with pytest.raises(StoreUnavailable):
        files.read(ref)


def test_a_new_folder_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").readlink())
    )
    open_file_store(str(tmp_path / "a" / "b"))
    assert synced == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]


@pytest.mark.parametrize("place", ["nosuch://bucket", "/dev/null/folder"])
def test_a_place_that_cannot_be_used_is_refused(place: str) -> None:
    with pytest.raises(ConfigurationError):
        open_file_store(place)
