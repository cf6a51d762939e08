"""Where replicas share what they learnt about memory."""

from typing import Protocol

from deployments.inference.memory.state import Evidence, MemoryKey


class Lessons(Protocol):
    """A place that outlives the replica that writes to it."""

    def publish(self, evidence: Evidence) -> None:
        """Leave a lesson for others."""
        ...

    def recall(self, key: MemoryKey) -> Evidence | None:
        """The latest lesson about a key, None where there is none."""
        ...
