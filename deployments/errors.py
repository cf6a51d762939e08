"""Every failure that the service can name, one class each.

    ServiceError
    ├── ClientError                 the caller can put it right
    │   ├── InvalidRequest          malformed request
    │   ├── InvalidFields           fields missing or out of range (carries a list)
    │   ├── InvalidImage            bytes that are no image we can decode
    │   ├── UnknownModel            a model name that is not served
    │   ├── PayloadTooLarge         too many bytes
    │   ├── ImageTooLarge           too many pixels, samples, pages or unpacked bytes
    │   ├── ImageExceedsMemory      one image alone does not fit the device's memory
    │   ├── UploadStalled           the client stopped sending
    │   ├── NotFound / Conflict     jobs and other named things
    │   └── Unauthorized / Forbidden / RateLimited
    ├── ServerError                 the caller can only wait or tell the operator
    │   ├── Overloaded              queues are full
    │   ├── ModelUnavailable        no healthy replica answers
    │   ├── DeadlineExceeded        not answered within the time allowed
    │   ├── InferenceFailed         the network raised
    │   ├── WorkerDied              a child process ended before it answered
    │   ├── InsufficientStorage     the disk is full
    │   └── StoreUnavailable        the job store does not answer
    ├── RetryElsewhere              this replica cannot; another one may (never leaves the ingress)
    └── ConfigurationError          refused at start-up
        └── WeightsError            a weight file that does not fit its network

The HTTP status of each is decided once, in ``serve_app/error_handlers.py``.

Exceptions take exactly one argument: Ray rebuilds them from ``args`` on the other side of a
handle, and a class with two positional arguments arrives as ``UnserializableException``.
"""


class ServiceError(Exception):
    """Base of all. ``str(error)`` is a sentence that may be shown to the caller."""


class ClientError(ServiceError):
    """The caller can put it right."""


class InvalidRequest(ClientError):
    """The request is malformed."""


class InvalidFields(ClientError):
    """Form fields are missing or out of range.

    The one argument is a list of ``{"loc": [...], "msg": str, "type": str}``, the shape that
    SpheroSeg's clients know from FastAPI.
    """

    @property
    def fields(self) -> list[dict[str, object]]:
        """The list given at construction."""
        fields: list[dict[str, object]] = self.args[0]
        return fields

    def __str__(self) -> str:
        return "; ".join(f"{error['loc']}: {error['msg']}" for error in self.fields)


class InvalidImage(ClientError):
    """The bytes are none of the accepted formats, or cannot be decoded."""


class UnknownModel(ClientError):
    """No model of that name is served."""


class PayloadTooLarge(ClientError):
    """A file or a body has more bytes than allowed."""


class ImageTooLarge(ClientError):
    """An image unpacks to more pixels, samples, pages or bytes than allowed."""


class ImageExceedsMemory(ClientError):
    """One image alone does not fit the memory of the device."""


class UploadStalled(ClientError):
    """The client stopped sending before the body was complete."""


class NotFound(ClientError):
    """The named thing does not exist (or belongs to somebody else)."""


class Conflict(ClientError):
    """The request contradicts the present state."""


class Unauthorized(ClientError):
    """No valid API key."""


class Forbidden(ClientError):
    """The API key lacks the scope."""


class RateLimited(ClientError):
    """The API key has used up its allowance."""


class ServerError(ServiceError):
    """The caller can only wait or tell the operator."""


class Overloaded(ServerError):
    """Queues are full."""


class ModelUnavailable(ServerError):
    """No healthy replica of the model answered."""


class DeadlineExceeded(ServerError):
    """The request was not answered within the time allowed."""


class InferenceFailed(ServerError):
    """The network raised an error that is not a shortage of memory."""


class WorkerDied(ServerError):
    """A child process was killed (memory, CPU or wall limit, crash) before it answered."""


class InsufficientStorage(ServerError):
    """The disk is full."""


class StoreUnavailable(ServerError):
    """The database of the job store does not answer, or too slowly."""


class RetryElsewhere(ServiceError):
    """This replica cannot answer any more, another one may. Never leaves the ingress."""


class ConfigurationError(ServiceError):
    """The configuration cannot work; the sentence says why. Raised at start-up."""


class WeightsError(ConfigurationError):
    """A weight file that does not fit its network."""
