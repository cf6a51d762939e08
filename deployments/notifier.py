"""The notifier: one replica that sends the mails of the outbox, and tells the operator of trouble.

It can die at any moment: Serve starts another, and the leases on the mails that it was sending
end by themselves. Those are sent again under the same Message-ID.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import uuid
from collections.abc import Sequence
from datetime import timedelta

from ray import serve

from deployments.errors import ServerError
from deployments.inference.images.limits import ImageLimits
from deployments.job_settings import JobSettings
from deployments.job_worker import JobLimits
from deployments.jobs.clock import utc_now
from deployments.jobs.store import JobStore
from deployments.logs import join_serve_logs
from deployments.mail.delivery import Delivery
from deployments.mail.notifications import OPERATOR_EVENT
from deployments.mail.sender import create_sender
from deployments.mail.settings import MailSettings
from deployments.model_client import ModelClient
from deployments.model_watch import ModelWatch
from deployments.notifier_attachments import AttachmentMaker
from deployments.notifier_messages import MessageWriter
from deployments.notifier_metrics import OutboxMetrics
from deployments.operator_mails import OperatorMails
from deployments.periodic import repeat

log = logging.getLogger(__name__)

# Due mails are looked for this often; ``wake`` is sooner.
_LOOK_S = 2.0
_GAUGES_PERIOD_S = 5.0
# Shorter than the three failed health checks after which a replica is gone.
_WATCH_PERIOD_S = 1.0
_PATIENCE_S = 5.0
_FAREWELL_S = 4.0
# Behind everything else when it competes for the processor.
_NICENESS = 10


class Notifier:
    """Sends mails. Its settings are those of ``MailSettings`` and ``JobSettings``.

    Args:
        models: Names of the models that are watched for the operator.
        limits: A ``JobLimits`` as plain values: what reading an upload for the picture in a
            mail may take.
        application: Name of the Serve application with the models.

    Raises:
        ConfigurationError: The mail settings cannot work, or the store cannot be opened.
        StoreUnavailable: The database does not answer.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, models: Sequence[str], limits: dict[str, object], application: str
    ) -> None:
        join_serve_logs()
        os.nice(_NICENESS)
        # Read here and not passed in: arguments of a deployment are stored, secrets must not be.
        self._settings = MailSettings()
        stored_in = JobSettings.from_environment()
        self._store = await JobStore.open(
            stored_in.url,
            stored_in.files,
            mail_expiry=timedelta(hours=self._settings.email_expiry_hours),
        )
        self._owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        checked = JobLimits.model_validate(limits)
        self._sandbox = checked.sandbox(workers=1)
        self._operator = OperatorMails(self._store.outbox, self._settings, utc_now)
        self._metrics = OutboxMetrics()
        self._due = asyncio.Event()
        self._sending = asyncio.Lock()
        self._tasks = [asyncio.create_task(repeat(self._update_gauges, _GAUGES_PERIOD_S))]
        for name in models:
            handle = serve.get_deployment_handle(name, app_name=application, _check_exists=False)
            watching = self._watch(ModelClient(name, handle), ModelWatch(name))
            self._tasks.append(asyncio.create_task(watching))
        self._delivery: Delivery | None = None
        if self._settings.enabled:
            self._delivery = self._create_delivery(checked)
            self._tasks.append(asyncio.create_task(self._deliver(self._delivery)))
        else:
            log.warning("EMAIL_SERVICE is none: no mail is sent")

    def _create_delivery(self, limits: JobLimits) -> Delivery:
        attachments = AttachmentMaker(
            self._store,
            self._sandbox,
            ImageLimits(max_pixels=limits.max_image_pixels),
            limits.metrics_convention,
            self._settings.email_max_attachment_bytes,
        )
        return Delivery(
            self._store.outbox,
            create_sender(self._settings),
            MessageWriter(self._store, self._settings, attachments).write,
            self._settings,
            clock=utc_now,
            owner=self._owner,
            on_dead=self._operator.tell,
            random_source=random.Random(),
        )

    def wake(self) -> None:
        """There may be a mail that is due."""
        self._due.set()

    async def operator_event(self, event: dict[str, object]) -> None:
        """Tell the operator of something, at once or in the next digest.

        Args:
            event: A ``ReplicaReplaced``, ``ModelDegraded`` or ``MailDeadLettered`` as JSON
                values, its ``kind`` included.
        """
        await self._operator.tell(OPERATOR_EVENT.validate_python(event))
        self._due.set()

    async def describe(self) -> dict[str, object]:
        """What this replica is and what it has to do, as JSON-ready values."""
        counts = await self._store.outbox.counts()
        return {
            "pid": os.getpid(),
            "owner": self._owner,
            "enabled": self._settings.enabled,
            "mails": {state.value: number for state, number in counts.items()},
        }

    async def check_health(self) -> None:
        """Called by Serve; raising makes it replace this replica.

        Raises:
            BaseException: What ended one of the loops, which run for ever.
        """
        for task in self._tasks:
            if task.done():
                task.result()

    async def _deliver(self, delivery: Delivery) -> None:
        while True:
            self._due.clear()
            try:
                await self._operator.flush()
                async with self._sending:
                    await delivery.deliver_due()
            except ServerError as error:
                log.warning("no mail is sent for now: %s", error)
            except Exception:
                # One mail that cannot be written must not hold up the others. Its lease returns
                # it, until it expires and the operator is told.
                log.exception("a mail was not sent")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._due.wait()

    async def _watch(self, client: ModelClient, watch: ModelWatch) -> None:
        while True:
            try:
                for event in watch.observe(await client.describe(_PATIENCE_S), utc_now()):
                    await self._operator.tell(event)
                    self._due.set()
            except (TimeoutError, ServerError) as error:
                log.debug("%s is not heard: %r", client.name, error)
            await asyncio.sleep(_WATCH_PERIOD_S)

    async def _update_gauges(self) -> None:
        await self._metrics.update(self._store.outbox)

    async def __del__(self) -> None:
        """Called by Serve once before the end: what is being sent is sent to its end."""
        if self._delivery is not None:
            self._delivery.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_S), self._sending:
                    log.debug("nothing is being sent any more")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sandbox.close()
        await self._store.close()
