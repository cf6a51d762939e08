"""Files by content: each is named by the SHA-256 of its bytes, so none is stored twice.

A folder of this machine or of a shared file system, or a bucket through fsspec.
"""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol, cast

import fsspec

from deployments.errors import (
    ConfigurationError,
    InsufficientStorage,
    NotFound,
    ServiceError,
    StoreUnavailable,
)

_REF = re.compile(r"[0-9a-f]{64}")
_NOT_FOUND = "there is no such file"
_NO_ANSWER = "the file store does not answer"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def content_ref(data: bytes) -> str:
    """Return the name under which the bytes are stored: SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


class FileStore(Protocol):
    """Where the bytes are. Calls block: call them from a thread."""

    def put(self, data: bytes) -> str:
        """Store bytes durably and return their ref.

        Raises:
            InsufficientStorage: The disk is full; nothing is left behind.
            StoreUnavailable: The folder or bucket does not answer.
        """
        ...

    def read(self, ref: str) -> bytes:
        """Return a whole file.

        Raises:
            NotFound: There is no such file.
            StoreUnavailable: The folder or bucket does not answer.
        """
        ...

    def delete(self, ref: str) -> None:
        """Delete a file; deleting one that is not there is no error.

        Raises:
            StoreUnavailable: The folder or bucket does not answer.
        """
        ...

    def delete_abandoned(self, before: datetime) -> None:
        """Delete what processes that died while writing left behind before that time."""
        ...


def open_file_store(data_dir: str) -> FileStore:
    """Return the store in a local folder, or in a bucket such as ``s3://bucket/folder``.

    Raises:
        ConfigurationError: The folder cannot be used, or the kind of URL is unknown.
    """
    folder = local_folder(data_dir)
    return _BucketFiles(data_dir) if folder is None else _LocalFiles(folder)


def local_folder(data_dir: str) -> Path | None:
    """Return the folder that the text names, or None if it names a bucket."""
    scheme, separator, path = data_dir.partition("://")
    if not separator:
        return Path(data_dir).absolute()
    return Path(path) if scheme in ("file", "local") else None


class _LocalFiles:
    """A folder: written beside, synced to disk, then renamed into place."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        try:
            make_folder(self._incoming)
        except OSError as error:
            raise ConfigurationError(f"the data folder cannot be used: {error}") from error

    def put(self, data: bytes) -> str:
        ref = content_ref(data)
        path = self._path(ref)
        with _folder_errors():
            if not path.exists():
                self._write(data, path)
            # Also when another process has just renamed it: its syncs may be still to come.
            _sync_folder(path.parent)
            _sync_folder(self._root)
        return ref

    def read(self, ref: str) -> bytes:
        with _folder_errors():
            try:
                return self._path(ref).read_bytes()
            except FileNotFoundError:
                raise NotFound(_NOT_FOUND) from None

    def delete(self, ref: str) -> None:
        with _folder_errors():
            self._path(ref).unlink(missing_ok=True)

    def delete_abandoned(self, before: datetime) -> None:
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()

    def _write(self, data: bytes, path: Path) -> None:
        handle, name = tempfile.mkstemp(dir=self._incoming)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            path.parent.mkdir(exist_ok=True)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _path(self, ref: str) -> Path:
        return self._root / _checked(ref)[:2] / ref


class _BucketFiles:
    """A bucket. Object stores show an object whole or not at all, once they acknowledge it."""

    def __init__(self, url: str) -> None:
        try:
            # Another node may have written since this one last listed the bucket.
            self._system, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ConfigurationError(f"the data folder cannot be used: {error}") from error

    def put(self, data: bytes) -> str:
        ref = content_ref(data)
        path = self._path(ref)
        with _bucket_errors():
            self._system.pipe_file(path, data)
        return ref

    def read(self, ref: str) -> bytes:
        path = self._path(ref)
        with _bucket_errors():
            try:
                return cast(bytes, self._system.cat_file(path))
            except FileNotFoundError:
                raise NotFound(_NOT_FOUND) from None

    def delete(self, ref: str) -> None:
        path = self._path(ref)
        with _bucket_errors(), suppress(FileNotFoundError):
            self._system.rm_file(path)

    def delete_abandoned(self, before: datetime) -> None:
        """Nothing to do: in a bucket an upload that was cut off leaves no object."""

    def _path(self, ref: str) -> str:
        return f"{self._root}/{_checked(ref)[:2]}/{ref}"


def _checked(ref: str) -> str:
    """Return the ref: only such names ever become part of a path."""
    if not _REF.fullmatch(ref):
        raise NotFound(_NOT_FOUND)
    return ref


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a power loss.

    Raises:
        OSError: It cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _folder_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise InsufficientStorage("the disk of the job store is full") from error
        raise StoreUnavailable(f"{_NO_ANSWER}: {error.strerror}") from error


@contextmanager
def _bucket_errors() -> Iterator[None]:
    try:
        yield
    except ServiceError:
        raise
    except Exception as error:
        # Refusals are OSErrors, but what drivers raise for a server that is away has no base
        # in common: botocore's, aiohttp's, google's.
        raise StoreUnavailable(f"{_NO_ANSWER}: {type(error).__name__}") from error
