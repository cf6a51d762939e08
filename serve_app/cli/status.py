"""``spheroserve status``: what a running service does, for a terminal."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
import httpx
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from serve_app.cli.api_key import api_key_option, key_headers

_TIMEOUT_S = 10.0
_PERIOD_S = 2.0


@click.command()
@click.option("--url", default="http://127.0.0.1:8000", show_default=True)
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
@api_key_option("operator")
def status(url: str, watch: bool, api_key: str | None) -> None:
    """Show deployments, replicas, queues, batch sizes, memory, jobs and mails of a service.

    Exit code 1 if it does not answer, if a model has no replica, or if one refuses its
    configuration.
    """
    console = Console()
    with httpx.Client(base_url=url, headers=key_headers(api_key), timeout=_TIMEOUT_S) as client:
        if not watch:
            overview = fetch(client)
            console.print(view(overview))
            raise SystemExit(0 if all(map(_well, overview["models"].values())) else 1)
        _watch(client, console)


def _well(model: Mapping[str, Any]) -> bool:
    replicas = model["replicas"]
    return bool(replicas) and all(replica["refused"] is None for replica in replicas)


def _watch(client: httpx.Client, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                shown: RenderableType = view(fetch(client))
            except click.ClickException as error:
                # It may come back; that is what one watches for.
                shown = Text(error.message, style="red")
            live.update(shown, refresh=True)
            time.sleep(_PERIOD_S)


def fetch(client: httpx.Client) -> dict[str, Any]:
    """Ask the service for its overview.

    Raises:
        click.ClickException: It does not answer, or refuses.
    """
    try:
        response = client.get("/api/v1/overview")
    except httpx.HTTPError as error:
        raise click.ClickException(f"no answer from {client.base_url}: {error}") from error
    if response.status_code != httpx.codes.OK:
        raise click.ClickException(f"{client.base_url}: status {response.status_code}")
    overview: dict[str, Any] = response.json()
    return overview


def view(overview: Mapping[str, Any]) -> RenderableType:
    """Draw an answer of ``GET /api/v1/overview``."""
    parts: list[RenderableType] = [
        _deployments(overview["deployments"]),
        _models(overview["models"]),
    ]
    parts += [Text(line, style="red") for line in _refusals(overview["models"])]
    parts.append(Text(f"images that wait for a device: {overview['queue_length']}"))
    jobs = overview["jobs"]
    if jobs is None:
        parts.append(Text("jobs and mails: no answer", style="red"))
    else:
        parts.append(_states("jobs", jobs["jobs"], jobs["oldest_unfinished_seconds"]))
        parts.append(_states("mails", jobs["mails"], jobs["oldest_unsent_seconds"]))
    return Group(*parts)


def _deployments(deployments: Sequence[Mapping[str, Any]] | None) -> RenderableType:
    if deployments is None:
        return Text("deployments: no answer from Serve's controller", style="red")
    table = Table("deployment", "status", "replicas", "message")
    for each in deployments:
        replicas = ", ".join(f"{number} {state}" for state, number in each["replicas"].items())
        well = each["status"] == "HEALTHY"
        status = Text(each["status"], style="" if well else "yellow")
        name = f"{each['application']}/{each['name']}"
        table.add_row(name, status, replicas or "none", "" if well else each["message"])
    return table


def _models(models: Mapping[str, Any]) -> Table:
    table = Table("model", "process", "device", "batch", "waiting", "images", "memory", "OOMs")
    for name, model in models.items():
        if not model["replicas"]:
            table.add_row(name, Text("no replica", style="red"))
        for replica in model["replicas"]:
            table.add_row(name, *_replica(replica))
    return table


def _refusals(models: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: process {replica['pid']} keeps what it had: {replica['refused']}"
        for name, model in models.items()
        for replica in model["replicas"]
        if replica["refused"] is not None
    ]


def _replica(replica: Mapping[str, Any]) -> list[RenderableType]:
    now, configured = replica["effective_batch_size"], replica["configured_batch_size"]
    memory = replica["memory"]
    peak = memory["peak_reserved_mb"]
    return [
        str(replica["pid"]),
        f"{replica['device']}{' (busy)' if replica['busy'] else ''}",
        Text(f"{now} of {configured}", style="yellow" if now < configured else ""),
        str(replica["waiting"]),
        str(replica["images"]),
        "" if peak is None else f"{peak:.0f} MiB",
        Text(str(memory["ooms"]), style="yellow" if memory["ooms"] else ""),
    ]


def _states(title: str, numbers: Mapping[str, int], oldest: float) -> Text:
    counts = ", ".join(f"{number} {state}" for state, number in numbers.items() if number)
    waiting = f"; oldest unfinished {_age(oldest)}" if oldest else ""
    dead = title == "mails" and numbers.get("dead", 0) > 0
    return Text(f"{title}: {counts or 'none'}{waiting}", style="red" if dead else "")


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
