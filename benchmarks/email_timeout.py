"""EMAIL_TIMEOUT against a server that never answers: how long one send lasts.

    python -m benchmarks.email_timeout

Writes ``benchmarks/results/email-timeout.json``.
"""

import asyncio
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.hostile_smtp import Fault, HostileSmtpServer
from deployments.mail.message import build_message
from deployments.mail.notifications import MailTest
from deployments.mail.outcome import Deferred
from deployments.mail.sender import SmtpSender
from deployments.mail.settings import MailSettings

RESULT = Path(__file__).parent / "results" / "email-timeout.json"
RECIPIENT = "reader@example.org"
SILENCES = {
    Fault.SILENT_BANNER: "from the connection on",
    Fault.SILENT_AFTER_DOT: "after the content",
}
TIMEOUTS_MS = (1000, 10_000, 60_000)
SENDS = 5


async def measure(fault: Fault, timeout_ms: int, sends: int) -> dict[str, object]:
    """Send a few mails at once to a server that falls silent; return how long each lasted."""
    async with HostileSmtpServer(lambda: fault) as server:
        settings = MailSettings(
            smtp_host="127.0.0.1",
            smtp_port=server.port,
            smtp_ignore_tls=True,
            email_timeout=timeout_ms,
            from_email="spheroserve@example.org",
        )
        message = build_message(
            MailTest(host="benchmark", at=datetime.now(UTC)),
            settings,
            recipient=RECIPIENT,
            locale="en",
            message_key="0" * 64,
            created_at=datetime.now(UTC),
        )

        # It reads the certificates of the system, which is no part of a send.
        sender = SmtpSender(settings)

        async def send() -> tuple[float, str]:
            started = time.monotonic()
            outcome = await sender.send(message, RECIPIENT)
            lasted = (time.monotonic() - started) * 1000
            assert isinstance(outcome, Deferred)
            return lasted, f"deferred ({outcome.cause.value})"

        sent = await asyncio.gather(*(send() for _ in range(sends)))
    lasted = [milliseconds for milliseconds, _ in sent]
    return {
        "silent": SILENCES[fault],
        "email_timeout_ms": timeout_ms,
        "sends": sends,
        "shortest_ms": round(min(lasted), 1),
        "median_ms": round(statistics.median(lasted), 1),
        "longest_ms": round(max(lasted), 1),
        "verdict": ", ".join(sorted({verdict for _, verdict in sent})),
    }


async def measure_all() -> list[dict[str, object]]:
    """Measure both silences at the same time: they only wait."""
    runs: list[dict[str, object]] = []
    for timeout in TIMEOUTS_MS:
        runs += await asyncio.gather(*(measure(fault, timeout, SENDS) for fault in SILENCES))
    return sorted(runs, key=lambda run: str(run["silent"]), reverse=True)


def main() -> None:
    """Run it and write the result."""
    runs = asyncio.run(measure_all())
    RESULT.write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(runs, indent=2))


if __name__ == "__main__":
    main()
