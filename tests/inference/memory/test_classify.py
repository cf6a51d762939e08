"""What an exception of a device call means."""

import errno

import pytest
import torch

from deployments.inference.memory.classify import Kind, classify


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 603979776 bytes. Error code 12 (Cannot allocate memory)"
        ),
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("Exception from src/inference: [GENERAL_ERROR] can't alloc"),
        RuntimeError("Check 'ptr' failed at src/core/memory.cpp:80"),
        RuntimeError("Resource temporarily unavailable"),
        RuntimeError("can't start new thread"),
    ],
)
def test_a_shortage_of_memory(error: Exception) -> None:
    assert classify(error).kind is Kind.OOM


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a "
        "non-contiguous input.",
        "could not create a primitive",
    ],
)
def test_a_failure_that_may_be_a_shortage(text: str) -> None:
    assert classify(RuntimeError(text)).kind is Kind.SUSPECT_OOM


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        torch.AcceleratorError("a text of some future version"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: misaligned address"),
        RuntimeError("CUDA error: unspecified launch failure"),
        RuntimeError("CUDA error: uncorrectable ECC error encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("NCCL error in: ProcessGroupNCCL.cpp"),
        RuntimeError("no CUDA-capable device is detected"),
    ],
)
def test_a_lost_device(error: Exception) -> None:
    assert classify(error).kind is Kind.FATAL


@pytest.mark.parametrize(
    "error",
    [
        ValueError("an image says: CUDA error: device-side assert"),
        RuntimeError("The size of tensor a (3) must match the size of tensor b (1)"),
        OSError(errno.ENOENT, "No such file"),
        KeyError("x"),
    ],
)
def test_anything_else_is_about_an_item(error: Exception) -> None:
    assert classify(error).kind is Kind.ITEM


def chain(first: Exception, second: Exception, how: str) -> Exception:
    """Raise ``second`` while ``first`` is handled, and return it."""

    def fail() -> None:
        try:
            raise first
        except type(first) as error:
            if how == "cause":
                raise second from error
            if how == "suppressed":
                raise second from None
            raise second  # noqa: B904 - the implicit context is what is tested

    with pytest.raises(type(second)) as caught:
        fail()
    return caught.value


def test_wrapping_does_not_hide_a_shortage() -> None:
    oom = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB.")
    problem = classify(chain(oom, ValueError("inference failed"), "cause"))
    assert problem.kind is Kind.OOM
    assert problem.requested_bytes == 3 * 2**29
    assert problem.error_type == "OutOfMemoryError"


def test_a_failure_while_cleaning_up_does_not_hide_a_shortage() -> None:
    assert classify(chain(MemoryError(), KeyError("cleanup"), "context")).kind is Kind.OOM


def test_a_lost_device_outweighs_a_shortage() -> None:
    lost = RuntimeError("CUDA error: an illegal memory access was encountered")
    assert classify(chain(MemoryError(), lost, "cause")).kind is Kind.FATAL


def test_a_suppressed_context_does_not_count() -> None:
    assert classify(chain(MemoryError(), ValueError("bad"), "suppressed")).kind is Kind.ITEM


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...", 20 * 2**20),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 512 bytes.", 512),
        ("CUDA error: out of memory", None),
    ],
)
def test_the_size_of_the_failed_allocation_is_read(text: str, size: int | None) -> None:
    assert classify(RuntimeError(text)).requested_bytes == size


def test_only_the_first_line_is_kept() -> None:
    problem = classify(RuntimeError("CUDA error: misaligned address\nCompile with TORCH_USE..."))
    assert str(problem) == "RuntimeError: CUDA error: misaligned address"
