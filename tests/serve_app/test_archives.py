import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.errors import InvalidRequest, PayloadTooLarge
from serve_app.archives import ArchiveLimits, list_entries, read_entries

LIMITS = ArchiveLimits(max_entries=10, max_entry_bytes=1000, max_bytes=3000)


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return data.getvalue()


def stored(folder: Path, data: bytes) -> Path:
    path = folder / "upload"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_entries_come_back_in_order(tmp_path: Path, method: int) -> None:
    files = {"b/2.png": b"second" * 100, "a/1.png": b"first", "empty": b""}
    path = stored(tmp_path, archive(files, method))
    entries = list_entries(path, LIMITS)
    assert [(entry.name, entry.size) for entry in entries] == [
        ("b/2.png", 600),
        ("a/1.png", 5),
        ("empty", 0),
    ]
    assert read_entries(path, entries[1:]) == [b"first", b""]


def test_what_no_person_put_there_is_left_out(tmp_path: Path) -> None:
    names = ["a/", "a/.DS_Store", "__MACOSX/a/._1.png", "a/1.png", "Thumbs.db", ".hidden/2.png"]
    path = stored(tmp_path, archive(dict.fromkeys(names, b"x")))
    found = [entry.name for entry in list_entries(path, LIMITS)]
    assert found == ["a/1.png", "Thumbs.db", ".hidden/2.png"]


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    large = {"zeros": b"\0" * 1001}
    many = {f"{number}": b"\0" * 900 for number in range(4)}
    for files in (large, many, {f"{number}": b"" for number in range(11)}):
        with pytest.raises(PayloadTooLarge):
            list_entries(stored(tmp_path, archive(files)), LIMITS)


def test_an_entry_that_lies_about_its_size_unpacks_to_no_more(tmp_path: Path) -> None:
    data = bytearray(archive({"zeros": b"\0" * 500_000}))
    # The size field of the directory entry, 24 bytes behind its signature.
    start = data.index(b"PK\x01\x02") + 24
    data[start : start + 4] = (100).to_bytes(4, "little")
    path = stored(tmp_path, bytes(data))
    entries = list_entries(path, LIMITS)
    with pytest.raises(InvalidRequest):
        read_entries(path, entries)


def test_encrypted_archives_are_refused(tmp_path: Path) -> None:
    data = bytearray(archive({"a.png": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(InvalidRequest, match="encrypted"):
        list_entries(stored(tmp_path, bytes(data)), LIMITS)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(
        [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    ),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 400),
)
def test_damaged_archives_are_read_or_refused(
    tmp_path: Path, method: int, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(archive({"a/1.png": b"some bytes" * 20, "2.png": b"y"}, method))
    for place, value in changes:
        data[place % len(data)] = value
    path = stored(tmp_path, bytes(data[: max(1, len(data) - cut)]))
    try:
        entries = list_entries(path, LIMITS)
        contents = read_entries(path, entries)
    except (InvalidRequest, PayloadTooLarge):
        return
    assert [len(content) for content in contents] == [entry.size for entry in entries]
