"""What an exception from a device call means for the batch and for the process.

The original service wrapped its out-of-memory errors before the handler could see them, so
recovery was dead code. Here the whole chain of causes is read, and only text is kept: a
stored exception holds its traceback, the traceback its frames, and the frames their tensors.
"""

import errno
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a failed device call is handled."""

    OOM = "oom"
    """Memory was short: free, shrink and try smaller parts."""
    SUSPECT_OOM = "suspect_oom"
    """cuBLAS or cuDNN failed as they do without memory; believed to be OOM once."""
    FATAL = "fatal"
    """The device context is lost: no further call may be made in this process."""
    ITEM = "item"
    """Something in the batch was wrong: halve until the item is alone."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A failed device call, without the exception that told of it.

    Attributes:
        kind: What to do about it.
        error_type: Class name of the exception.
        text: First line of its message.
        requested_bytes: Size of the allocation that failed, where the message names it.
    """

    kind: Kind
    error_type: str
    text: str
    requested_bytes: int | None = None

    def __str__(self) -> str:
        return f"{self.error_type}: {self.text}"


_OOM_TEXTS = re.compile(
    r"\bout of memory\b"  # torch and CUDA: "CUDA error: out of memory"
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|bad_alloc"
    r"|cannot allocate memory"
    r"|can't alloc\b"  # OpenVINO
    r"|Check 'ptr' failed"  # OpenVINO's allocator returned null
    r"|Resource temporarily unavailable"  # no memory for the stack of a thread
    r"|can't start new thread",  # the same, in Python
    re.IGNORECASE,
)

# pytorch/pytorch#81620: without memory cuBLAS and cuDNN fail to create handles or to load
# kernels, and say so in these ways; oneDNN does the same on CPU.
_SUSPECT_TEXTS = re.compile(
    r"CUBLAS_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"
    r"|CUDNN_STATUS_(ALLOC_FAILED|NOT_INITIALIZED|INTERNAL_ERROR\w*|NOT_SUPPORTED\w*)"
    r"|could not create a (memory|primitive)"
)

_FATAL_TEXTS = re.compile(
    r"CUDA error"
    r"|CUDA driver error"
    r"|illegal memory access"
    r"|misaligned address"
    r"|device-side assert"
    r"|unspecified launch failure"
    r"|uncorrectable ECC"
    r"|CUBLAS_STATUS_"
    r"|CUDNN_STATUS_(EXECUTION_FAILED|MAPPING_ERROR)"
    r"|NCCL error"
    r"|no CUDA-capable device",
    re.IGNORECASE,
)

_REQUESTED = re.compile(
    r"tried to allocate (?P<size>\d+(\.\d+)?) ?(?P<unit>bytes|KiB|MiB|GiB)", re.IGNORECASE
)
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def classify(error: BaseException) -> Problem:
    """Reduce an exception of a device call to what has to be done about it.

    The gravest kind in the chain of causes and contexts counts: an engine that wraps torch's
    error, or fails while cleaning up after it, does not hide it.

    Args:
        error: The exception. No reference to it is kept.
    """
    gravity = (Kind.FATAL, Kind.OOM, Kind.SUSPECT_OOM, Kind.ITEM)
    found = min(
        ((_kind(link), link) for link in _chain(error)), key=lambda pair: gravity.index(pair[0])
    )
    kind, cause = found
    text = str(cause)
    return Problem(
        kind=kind,
        error_type=type(cause).__name__,
        text=text.strip().split("\n", 1)[0][:300],
        requested_bytes=_requested_bytes(text),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        if link.__cause__ is not None:
            link = link.__cause__
        else:
            link = None if link.__suppress_context__ else link.__context__


def _kind(error: BaseException) -> Kind:
    # By name, so that a replica whose engine is not torch need not import torch.
    names = {base.__name__ for base in type(error).__mro__}
    text = str(error)
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names:
        return Kind.OOM
    if isinstance(error, OSError):
        return Kind.OOM if error.errno == errno.ENOMEM else Kind.ITEM
    if not isinstance(error, RuntimeError):
        return Kind.ITEM
    if _OOM_TEXTS.search(text):
        return Kind.OOM
    if _SUSPECT_TEXTS.search(text):
        return Kind.SUSPECT_OOM
    if "AcceleratorError" in names or _FATAL_TEXTS.search(text):
        return Kind.FATAL
    return Kind.ITEM


def _requested_bytes(text: str) -> int | None:
    match = _REQUESTED.search(text)
    if match is None:
        return None
    return int(float(match["size"]) * _UNITS[match["unit"].lower()])
