"""Multipart forms, read into memory while they arrive.

Starlette's parser puts files into temporary files, has no limit for one file and takes a body
that was cut off for a complete one. This one keeps in memory what the body limit bounds, or
hands over each file as soon as it is complete. Only a ZIP file, where one may be larger than
other files, goes to disk.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from deployments.errors import InvalidRequest, PayloadTooLarge
from serve_app.archives import ZIP_SIGNATURES
from serve_app.spool import Spool


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Limits of one form.

    Attributes:
        max_files: Most parts that carry a file name.
        max_fields: Most parts that carry none.
        max_file_bytes: Most bytes of one file.
        max_field_bytes: Most bytes of one field.
        refuse_large_file: Whether one file above its limit ends the whole form. Otherwise its
            bytes are thrown away and the others are read.
        max_archive_bytes: Most bytes of a ZIP file, which is put on disk; None treats it as
            any other file.
    """

    max_files: int
    max_fields: int
    max_file_bytes: int
    max_field_bytes: int
    refuse_large_file: bool
    max_archive_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file.

    Attributes:
        filename: As the client sent it. Never use it as a path.
        data: The bytes; empty when there were too many.
        too_large: Whether there were more bytes than one file may have.
        archive: Where the bytes of a ZIP file are instead, as long as it is being handed over.
    """

    filename: str
    data: bytes
    too_large: bool = False
    archive: Path | None = None


Form = dict[str, list[str | Upload]]
FileHandler = Callable[[str, Upload], Awaitable[None]]
"""Takes the name of a field and its file, which is complete."""


@dataclass(slots=True)
class _Part:
    """The part that is arriving."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: str = ""
    filename: str | None = None
    size: int = 0
    data: bytearray = field(default_factory=bytearray)
    spool: Spool | None = None


class _FormBuilder:
    """Callbacks of python-multipart that collect parts.

    Attributes:
        parts: The parts that are complete and not yet taken, with the spool of an archive.
        complete: Whether the last boundary was seen.
    """

    def __init__(self, limits: FormLimits) -> None:
        self.parts: deque[tuple[str, str | Upload, Spool | None]] = deque()
        self.complete = False
        self._limits = limits
        self._files = 0
        self._fields = 0
        self._part = _Part()
        self._header_name = bytearray()
        self._header_value = bytearray()

    def on_part_begin(self) -> None:
        self._part = _Part()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        self._part.headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def on_headers_finished(self) -> None:
        _, options = parse_options_header(self._part.headers.get(b"content-disposition"))
        if b"name" not in options:
            raise InvalidRequest("A part of the multipart body has no name.")
        self._part.name = _decode(options[b"name"])
        if b"filename" in options:
            self._part.filename = _decode(options[b"filename"])
            self._files += 1
        else:
            self._fields += 1
        if self._files > self._limits.max_files:
            raise InvalidRequest(f"body: more than {self._limits.max_files} files.")
        if self._fields > self._limits.max_fields:
            raise InvalidRequest(f"body: more than {self._limits.max_fields} form fields.")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        chunk = memoryview(data)[start:end]
        if self._begins_archive(chunk):
            part.spool = Spool()
            part.spool.write(part.data)
            part.data.clear()
        part.size += len(chunk)
        limit = self._limit()
        if part.size > limit:
            if part.filename is None or part.spool or self._limits.refuse_large_file:
                raise part_too_large(part.name, limit)
            part.data.clear()
        elif part.spool is not None:
            part.spool.write(chunk)
        else:
            part.data += chunk

    def _begins_archive(self, chunk: memoryview) -> bool:
        part = self._part
        if part.filename is None or self._limits.max_archive_bytes is None or len(part.data) >= 4:
            return False
        return (bytes(part.data) + bytes(chunk[:4])).startswith(ZIP_SIGNATURES)

    def _limit(self) -> int:
        if self._part.filename is None:
            return self._limits.max_field_bytes
        if self._part.spool is not None and self._limits.max_archive_bytes is not None:
            return self._limits.max_archive_bytes
        return self._limits.max_file_bytes

    def on_part_end(self) -> None:
        part = self._part
        value: str | Upload
        if part.filename is None:
            value = _decode(bytes(part.data))
        else:
            too_large = part.size > self._limits.max_file_bytes
            archive = part.spool.path if part.spool is not None else None
            value = Upload(part.filename, bytes(part.data), too_large and archive is None, archive)
        self.parts.append((part.name, value, part.spool))
        self._part = _Part()

    def on_end(self) -> None:
        self.complete = True

    def end_part(self) -> None:
        """The first part was taken."""
        _, _, spool = self.parts.popleft()
        if spool is not None:
            spool.close()

    def close(self) -> None:
        """Delete what is left on disk where reading ended early."""
        while self.parts:
            self.end_part()
        if self._part.spool is not None:
            self._part.spool.close()


def part_too_large(name: str, max_bytes: int) -> PayloadTooLarge:
    """Return the error for a file or field above its limit."""
    return PayloadTooLarge(f"{name}: larger than the limit of {max_bytes} bytes.")


async def read_form(
    content_type: str,
    chunks: AsyncIterator[bytes],
    limits: FormLimits,
    on_file: FileHandler | None = None,
) -> Form:
    """Read a form; empty, and unread, if the content type is not multipart/form-data.

    Args:
        content_type: Value of the Content-Type header.
        chunks: The body.
        limits: What the form may hold.
        on_file: Takes each file as soon as it is complete; then the form holds only fields.
            Nothing more is read until it returns.

    Raises:
        InvalidRequest: The body is malformed, cut off, or has too many parts.
        PayloadTooLarge: A field, or a file that must not be, is too large.
        InsufficientStorage: The disk has no room for a ZIP file.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return {}
    if not options.get(b"boundary"):
        raise InvalidRequest("The Content-Type multipart/form-data names no boundary.")
    form: Form = {}
    builder = _FormBuilder(limits)
    try:
        parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": builder.on_part_begin,
                "on_header_field": builder.on_header_field,
                "on_header_value": builder.on_header_value,
                "on_header_end": builder.on_header_end,
                "on_headers_finished": builder.on_headers_finished,
                "on_part_data": builder.on_part_data,
                "on_part_end": builder.on_part_end,
                "on_end": builder.on_end,
            },
        )
        async for chunk in chunks:
            parser.write(chunk)
            while builder.parts:
                name, value, _ = builder.parts[0]
                if on_file is not None and isinstance(value, Upload):
                    await on_file(name, value)
                else:
                    form.setdefault(name, []).append(value)
                builder.end_part()
    except FormParserError as error:
        raise InvalidRequest("The multipart body is malformed.") from error
    finally:
        builder.close()
    if not builder.complete:
        raise InvalidRequest("The multipart body ends before its last boundary.")
    return form


def _decode(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
