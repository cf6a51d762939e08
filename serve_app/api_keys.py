"""API keys: who may call, how much, and what.

A key is 256 random bits, shown once when it is made. The file holds its SHA-256: a hash made to
be slow protects weak secrets, and these are not weak.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from deployments.errors import ConfigurationError

_PREFIX = "sps_"


class Scope(StrEnum):
    """What a key is good for."""

    USER = "user"
    """Segment images, run jobs, read."""
    OPERATOR = "operator"
    """All of that, and change how the service runs."""


class ApiKey(BaseModel):
    """One entry of the file.

    Attributes:
        name: Who holds the key; the owner of the jobs made with it.
        sha256: SHA-256 of the key in hexadecimal.
        scope: What it is good for.
        requests_per_minute: Allowance of requests that do work; None for no limit.
        megapixels_per_minute: Allowance of uploaded pixels in millions; None for no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[\w.@-]{1,64}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scope: Scope = Scope.USER
    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    megapixels_per_minute: Annotated[float, Field(gt=0)] | None = None


class _KeysFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[ApiKey, ...]

    @field_validator("keys")
    @classmethod
    def _distinct(cls, keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
        names = [key.name for key in keys]
        if len(set(names)) < len(names):
            raise ValueError("two keys have the same name")
        if not keys:
            raise ValueError("there is no key in it")
        return keys


class KeyRing:
    """The keys that are accepted."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = tuple(keys)

    def find(self, presented: str) -> ApiKey | None:
        """Return the entry of a key, None where it is not one of ours.

        Every entry is compared in constant time, so that an answer's delay tells nothing.
        """
        digest = digest_of(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def digest_of(key: str) -> str:
    """SHA-256 of a key in hexadecimal, as the file has it."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key() -> str:
    """Return a new random key."""
    return _PREFIX + secrets.token_urlsafe(32)


def key_ring(path: Path | None) -> KeyRing | None:
    """The keys of a file; None where there is no file, which lets everybody in.

    Raises:
        ConfigurationError: As ``read_keys``.
    """
    return None if path is None else KeyRing(read_keys(path))


def read_keys(path: Path) -> Sequence[ApiKey]:
    """Read the file of keys, JSON ``{"keys": [...]}``.

    Raises:
        ConfigurationError: It cannot be read or an entry is wrong; the sentence names which,
            and never shows a digest.
    """
    try:
        return _KeysFile.model_validate_json(path.read_bytes()).keys
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigurationError(f"{path}: {where}: {first['msg']}") from None
