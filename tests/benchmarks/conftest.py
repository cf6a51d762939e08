"""Shared with the tests of inference."""

from tests.inference.conftest import one_thread

__all__ = ["one_thread"]
