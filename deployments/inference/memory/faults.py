"""Failures on demand, for tests: the n-th device call fails as a real device would.

``SPHEROSERVE_FAULTS`` lists faults by model, for example
``hrnet:oom@3,cudnn@5;resunet_small:illegal@7``: for hrnet, the third device call runs out of
memory and the fifth fails inside cuDNN; for resunet_small the seventh call loses the device.
``oom>4`` makes every call of more than 4 images run out of memory.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from deployments.errors import ConfigurationError

T = TypeVar("T")
R = TypeVar("R")

FAULTS_VARIABLE = "SPHEROSERVE_FAULTS"
TESTING_VARIABLE = "SPHEROSERVE_TESTING"

_FAULT = re.compile(r"(?P<kind>[a-z]+)(?P<when>[@>])(?P<number>\d+)")
_TEXTS = {
    "oom": "CUDA out of memory. Tried to allocate 2.00 GiB.",
    "cublas": "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cudnn": "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR",
    "illegal": "CUDA error: an illegal memory access was encountered",
    "item": "The size of tensor a must match the size of tensor b",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure.

    Attributes:
        kind: ``oom``, ``cublas``, ``cudnn``, ``illegal`` or ``item``.
        call: Number of the device call that fails, from 1; None where ``above`` decides.
        above: Calls of more images than this fail; None where ``call`` decides.
    """

    kind: str
    call: int | None = None
    above: int | None = None


def faults_of(model: str, environment: Mapping[str, str]) -> list[Fault]:
    """The faults that the environment asks for in one model, none by default.

    Raises:
        ConfigurationError: Faults are asked for outside tests, or cannot be read.
    """
    text = environment.get(FAULTS_VARIABLE, "")
    if not text:
        return []
    if environment.get(TESTING_VARIABLE) != "1":
        raise ConfigurationError(f"{FAULTS_VARIABLE} is only for tests: {TESTING_VARIABLE}=1")
    faults = []
    for section in text.split(";"):
        name, _, listed = section.strip().partition(":")
        parsed = [_parse(part.strip()) for part in listed.split(",")]
        if name == model:
            faults += parsed
    return faults


def _parse(text: str) -> Fault:
    match = _FAULT.fullmatch(text)
    if match is None or match["kind"] not in _TEXTS:
        kinds = ", ".join(_TEXTS)
        raise ConfigurationError(
            f"{FAULTS_VARIABLE}: '{text}' is no fault; write KIND@CALL or KIND>IMAGES, "
            f"with KIND one of {kinds}"
        )
    number = int(match["number"])
    if match["when"] == "@":
        return Fault(match["kind"], call=number)
    return Fault(match["kind"], above=number)


class FaultInjector:
    """Counts device calls and makes some of them fail. Safe for calls from several threads.

    After an ``illegal`` fault every further call fails the same way, as on a lost device.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = list(faults)
        self._lock = threading.Lock()
        self._lost = False
        self.calls = 0
        """Device calls so far, failed ones included."""

    def before_call(self, images: int) -> None:
        """Count a device call and fail it where a fault asks for it.

        Raises:
            RuntimeError: With the text of the real failure.
        """
        with self._lock:
            self.calls += 1
            kinds = [
                fault.kind
                for fault in self._faults
                if fault.call == self.calls or (fault.above is not None and images > fault.above)
            ]
            if self._lost or "illegal" in kinds:
                self._lost = True
                kinds = ["illegal"]
        if kinds:
            raise RuntimeError(_TEXTS[kinds[0]])

    def wrap(
        self, call: Callable[[Sequence[T]], Sequence[R]]
    ) -> Callable[[Sequence[T]], Sequence[R]]:
        """The same device call, with the faults in front of it."""

        def faulty(payloads: Sequence[T]) -> Sequence[R]:
            self.before_call(len(payloads))
            return call(payloads)

        return faulty
