"""Uploaded ZIP files: what a child process runs to list and unpack them.

No name in an archive is used as a path. Sizes are checked twice: as declared before anything
is unpacked, and by ``zipfile``, which unpacks no more than was declared.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deployments.errors import InvalidRequest, PayloadTooLarge

ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of an archive with entries, and of an empty one."""

_ENCRYPTED = 0x1
# All that zipfile and its decompressors raise for bytes that contradict each other.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Limits of one archive.

    Attributes:
        max_entries: Most files.
        max_entry_bytes: Most bytes of one file, unpacked.
        max_bytes: Most bytes of all files, unpacked.
    """

    max_entries: int
    max_entry_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One file of an archive.

    Attributes:
        index: Its place in the directory of the archive.
        name: Its name in the archive, folders included.
        size: Its bytes, unpacked, as declared.
    """

    index: int
    name: str
    size: int


def list_entries(path: Path, limits: ArchiveLimits) -> list[ArchiveEntry]:
    """Return the files of an archive, without folders, hidden files and those of macOS.

    Raises:
        InvalidRequest: The archive is damaged, encrypted or empty.
        PayloadTooLarge: It holds too many files, or too many bytes once unpacked.
    """
    with _opened(path) as archive:
        infos = archive.infolist()
    entries = [
        ArchiveEntry(index, info.filename, info.file_size)
        for index, info in enumerate(infos)
        if not info.is_dir() and not _is_hidden(info.filename)
    ]
    if any(infos[entry.index].flag_bits & _ENCRYPTED for entry in entries):
        raise InvalidRequest("files: the ZIP file is encrypted.")
    if not entries:
        raise InvalidRequest("files: the ZIP file holds no files.")
    if len(entries) > limits.max_entries:
        raise PayloadTooLarge(f"files: the ZIP file holds more than {limits.max_entries} files.")
    largest = max(entries, key=lambda entry: entry.size)
    if largest.size > limits.max_entry_bytes:
        raise PayloadTooLarge(
            f"files: {largest.name!r} in the ZIP file unpacks to more than "
            f"{limits.max_entry_bytes} bytes."
        )
    if sum(entry.size for entry in entries) > limits.max_bytes:
        raise PayloadTooLarge(f"files: the ZIP file unpacks to more than {limits.max_bytes} bytes.")
    return entries


def read_entries(path: Path, entries: Sequence[ArchiveEntry]) -> list[bytes]:
    """Return the unpacked bytes of some files of an archive.

    Raises:
        InvalidRequest: A file is damaged or compressed in an unknown way.
    """
    with _opened(path) as archive:
        infos = archive.infolist()
        return [archive.read(infos[entry.index]) for entry in entries]


def _is_hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or "__MACOSX" in parts or parts[-1].startswith(".")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except _DAMAGED as error:
        raise InvalidRequest(f"files: the ZIP file cannot be read: {error}") from error
