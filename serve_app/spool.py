"""A file on disk that lives as long as one upload."""

import errno
import tempfile
from pathlib import Path

from deployments.errors import InsufficientStorage

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """A temporary file; the process that dies leaves it to the clean-up of the system.

    Raises:
        InsufficientStorage: At construction and writing: the disk is full.
    """

    def __init__(self) -> None:
        # Written and read by name: a child process opens it.
        self._file = tempfile.NamedTemporaryFile(prefix="spheroserve-")  # noqa: SIM115
        self.path = Path(self._file.name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. They go to the page cache, so this does not wait for the disk."""
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise InsufficientStorage("the disk for uploads is full") from error
            raise

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
