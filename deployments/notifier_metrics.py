"""Prometheus gauges of the outbox, exported by Ray on its metrics port."""

from ray.util.metrics import Gauge

from deployments.jobs.outbox import Outbox


class OutboxMetrics:
    """How many mails are in which state, and how long the oldest has waited."""

    def __init__(self) -> None:
        self._mails = Gauge("spheroserve_mails", "Mails in the outbox", tag_keys=("state",))
        self._oldest = Gauge(
            "spheroserve_mails_oldest_unsent_seconds",
            "Age of the oldest mail that is neither sent nor given up",
        )

    async def update(self, outbox: Outbox) -> None:
        """Set all gauges.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        for state, number in (await outbox.counts()).items():
            self._mails.set(number, {"state": state})
        self._oldest.set((await outbox.oldest_unsent_age()).total_seconds())
