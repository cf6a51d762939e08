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


def test_wrapping_does_not_hide_a_shortage() -> None:
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.50 GiB.")
        except RuntimeError as error:
            raise ValueError("inference failed") from error
    except ValueError as error:
        problem = classify(error)
    assert problem.kind is Kind.OOM
    assert problem.requested_bytes == 3 * 2**29
    assert problem.error_type == "OutOfMemoryError"


def test_a_failure_while_cleaning_up_does_not_hide_a_shortage() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise KeyError("cleanup")  # noqa: B904 - the implicit context is what is tested
    except KeyError as error:
        assert classify(error).kind is Kind.OOM


def test_a_lost_device_outweighs_a_shortage() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError as error:
            raise RuntimeError("CUDA error: an illegal memory access was encountered") from error
    except RuntimeError as error:
        assert classify(error).kind is Kind.FATAL


def test_a_suppressed_context_does_not_count() -> None:
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError("bad image") from None
    except ValueError as error:
        assert classify(error).kind is Kind.ITEM


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
