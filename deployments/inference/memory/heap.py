"""The C library's heap under a limit on the memory of the process.

Such a limit stops whoever asks next, not who took most: a batch that takes the last megabyte
starves the event loop and Serve beside it, which need a buffer for every answer. Seen at eight
limits: five replicas died. So large blocks go straight back to the kernel, and small ones have a
reserve that large ones do not fit into.
"""

import ctypes
import logging
import os
import threading

from deployments.errors import ConfigurationError

log = logging.getLogger(__name__)

ONE_HEAP = ("MALLOC_ARENA_MAX", "1")
"""Variable and value with which whoever starts Ray's processes makes all threads share one heap.

glibc reads it when a process starts. Otherwise each thread has a heap of its own, and a reserve in
one is of no use to the others.
"""

_MIB = 2**20
_M_MMAP_THRESHOLD = -3  # glibc, malloc.h
_LARGE_BYTES = 4 * _MIB

# Ray serialises every answer into a buffer of 1 MiB (msgpack's Packer).
_RESERVED_BLOCKS = 32
_RESERVED_BLOCK_BYTES = _MIB + 256 * 1024
_SEPARATOR_BYTES = 2048
_RESERVED_THREADS = 4


def prepare_heap() -> None:
    """Make this process ready for a limit. Call it before the limit's base is taken.

    The reserve is address space that counts against the limit, 40 MiB and the stacks of four
    threads; hardly any of it is ever touched. Large blocks, of 4 MiB and more, are mapped one by
    one from now on and each pays for its page faults.

    Raises:
        ConfigurationError: The C library has no ``mallopt`` or refuses.
    """
    return_freed_memory()
    name, value = ONE_HEAP
    if os.environ.get(name) != value:
        log.warning(
            "a memory limit without %s=%s in the environment of Ray's processes: "
            "a batch that runs out of memory may starve the rest of this process",
            name,
            value,
        )
    _reserve_small_blocks()
    _reserve_stacks()


def return_freed_memory() -> None:
    """Make glibc give large blocks back to the kernel as soon as they are freed.

    By default glibc learns to keep blocks of up to 32 MiB in the heap, where they stay counted
    against the limit: after one failed call, batches that had fitted do not fit again.

    Raises:
        ConfigurationError: The C library has no ``mallopt`` or refuses.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES) != 1:
        raise ConfigurationError("memory_limit_mb on CPU needs glibc's mallopt")


def _reserve_small_blocks() -> None:
    """Leave free blocks in the heap; what stays between them keeps them small and in place."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = []
    for _ in range(_RESERVED_BLOCKS):
        blocks.append(libc.malloc(_RESERVED_BLOCK_BYTES))
        libc.malloc(_SEPARATOR_BYTES)
    for block in blocks:
        libc.free(block)


def _reserve_stacks() -> None:
    """Leave stacks: glibc keeps those of ended threads, up to 40 MiB, for the next ones."""
    done = threading.Event()
    threads = [threading.Thread(target=done.wait) for _ in range(_RESERVED_THREADS)]
    try:
        for thread in threads:
            thread.start()
    finally:
        done.set()
    for thread in threads:
        thread.join()
