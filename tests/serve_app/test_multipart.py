from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InvalidRequest, PayloadTooLarge
from serve_app.multipart import Form, FormLimits, Upload, read_form
from tests.serve_app.fakes import multipart

LIMITS = FormLimits(
    max_files=3, max_fields=2, max_file_bytes=1000, max_field_bytes=100, refuse_large_file=True
)
CONTENT_TYPE = multipart()[0]


async def pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


async def read(body: bytes, size: int = 7, content_type: str = CONTENT_TYPE) -> Form:
    return await read_form(content_type, pieces(body, size), LIMITS)


@given(
    contents=st.lists(st.binary(max_size=300), max_size=3),
    value=st.text(st.characters(codec="utf-8"), max_size=25),
    size=st.integers(1, 400),
)
async def test_form_does_not_depend_on_how_it_arrives(
    contents: list[bytes], value: str, size: int
) -> None:
    files = [("files", f"{n}.png", data) for n, data in enumerate(contents)]
    form = await read(multipart(files, {"model": value})[1], size)
    assert form.get("files", []) == [Upload(name, data) for _, name, data in files]
    assert form["model"] == [value]


@given(cut=st.integers(0, 150))
async def test_body_that_is_cut_off_is_refused(cut: int) -> None:
    _, body = multipart([("file", "a.png", b"\r\n--frontier\r\n" * 5)], {"model": "hrnet"})
    with pytest.raises(InvalidRequest):
        await read(body[: min(cut, len(body) - 5)])


@pytest.mark.parametrize(
    "name", ["žlutý kůň.png", "球状体.tif", "a%22b%0A.png", "../../etc/passwd", ""]
)
async def test_file_names_come_as_they_are(name: str) -> None:
    form = await read(multipart([("file", name, b"x")])[1])
    assert form == {"file": [Upload(name, b"x")]}


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json", "application/x-www-form-urlencoded"]
)
async def test_other_content_types_are_empty_forms(content_type: str) -> None:
    assert await read(b"file=x", content_type=content_type) == {}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=", b""),
        ("multipart/form-data; boundary=" + "x" * 300, b""),
        (CONTENT_TYPE, b""),
        (CONTENT_TYPE, b"garbage"),
        (
            CONTENT_TYPE,
            b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n--frontier--\r\n",
        ),
        (CONTENT_TYPE, b"--frontier\r\n" + b"X: y\r\n" * 1000),
        (CONTENT_TYPE, b"--frontier\r\nX: " + b"y" * 100_000),
        (CONTENT_TYPE, b"--frontier\r\nbad header\r\n\r\nx\r\n--frontier--\r\n"),
    ],
    ids=[
        "no boundary",
        "empty boundary",
        "long boundary",
        "empty body",
        "garbage",
        "no name",
        "many headers",
        "long header",
        "bad header",
    ],
)
async def test_malformed_forms_are_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        await read(body, content_type=content_type)


async def test_number_of_parts_is_limited() -> None:
    with pytest.raises(InvalidRequest, match="more than 3 files"):
        await read(multipart([("f", "a", b"")] * 4)[1])
    with pytest.raises(InvalidRequest, match="more than 2 form fields"):
        await read(multipart(fields={"a": "", "b": "", "c": ""})[1])


async def test_size_of_parts_is_limited() -> None:
    with pytest.raises(PayloadTooLarge, match=r"^f: larger than the limit of 1000 bytes"):
        await read(multipart([("f", "a", b"x" * 1001)])[1])
    with pytest.raises(PayloadTooLarge, match=r"^a: larger than the limit of 100 bytes"):
        await read(multipart(fields={"a": "x" * 101})[1])


async def test_bytes_of_a_file_that_is_too_large_are_thrown_away() -> None:
    _, body = multipart([("files", "large", b"x" * 5000), ("files", "small", b"y")])
    limits = replace(LIMITS, refuse_large_file=False)
    form = await read_form(CONTENT_TYPE, pieces(body, 500), limits)
    assert form["files"] == [Upload("large", b"", too_large=True), Upload("small", b"y")]


async def test_fields_have_a_limit_of_their_own() -> None:
    _, body = multipart(fields={"model": "x" * 50})
    limits = replace(LIMITS, max_file_bytes=10, refuse_large_file=False)
    assert await read_form(CONTENT_TYPE, pieces(body, 7), limits) == {"model": ["x" * 50]}


async def test_files_are_handed_over_one_by_one() -> None:
    parts = [("files", f"{n}.png", b"x" * 50 * n) for n in range(1, 4)]
    _, body = multipart(parts, {"model": "hrnet"})
    read_so_far = 0
    seen: list[tuple[str, Upload, int]] = []

    async def counted() -> AsyncIterator[bytes]:
        nonlocal read_so_far
        async for piece in pieces(body, 20):
            read_so_far += len(piece)
            yield piece

    async def take(name: str, upload: Upload) -> None:
        seen.append((name, upload, read_so_far))

    form = await read_form(CONTENT_TYPE, counted(), LIMITS, take)
    assert form == {"model": ["hrnet"]}
    assert [(name, upload) for name, upload, _ in seen] == [
        (field, Upload(name, data)) for field, name, data in parts
    ]
    # Each before the next one was read.
    ends = [body.index(b'"%d.png"' % n) for n in (2, 3)]
    assert seen[0][2] < ends[0] + 20
    assert seen[1][2] < ends[1] + 20


@pytest.mark.parametrize("size", [1, 3, 5, 10_000])
async def test_archives_go_to_disk_and_have_a_limit_of_their_own(size: int) -> None:
    data = b"PK\x03\x04" + b"z" * 4000
    paths = []

    async def take(name: str, upload: Upload) -> None:
        assert (name, upload.data, upload.too_large) == ("files", b"", False)
        assert upload.archive is not None
        assert upload.archive.read_bytes() == data
        paths.append(upload.archive)

    limits = replace(LIMITS, max_archive_bytes=5000)
    _, body = multipart([("files", "a.zip", data), ("files", "b.zip", data)])
    await read_form(CONTENT_TYPE, pieces(body, size), limits, take)
    assert len(set(paths)) == 2
    assert not any(path.exists() for path in paths)
    with pytest.raises(PayloadTooLarge, match="limit of 4003 bytes"):
        await read_form(
            CONTENT_TYPE, pieces(body, size), replace(limits, max_archive_bytes=4003), take
        )
    with pytest.raises(PayloadTooLarge, match="limit of 1000 bytes"):
        await read_form(CONTENT_TYPE, pieces(body, size), LIMITS, take)


async def test_nothing_of_an_archive_stays_when_the_upload_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    _, body = multipart([("files", "a.zip", b"PK\x03\x04" + b"z" * 900)])
    limits = replace(LIMITS, max_archive_bytes=5000)

    async def refuse(name: str, upload: Upload) -> None:
        assert list(tmp_path.iterdir()) == [upload.archive]
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest, match="ends before"):
        await read_form(CONTENT_TYPE, pieces(body[:-200], 50), limits)
    with pytest.raises(InvalidRequest, match="no"):
        await read_form(CONTENT_TYPE, pieces(body, 50), limits, refuse)
    assert list(tmp_path.iterdir()) == []
