"""The settings of Ray Serve that matter here, as a table: ours, Serve's own, why, and where."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.serve._private import constants
from ray.serve._private.config import DeploymentConfig
from ray.serve.config import AutoscalingConfig, HTTPOptions

from deployments.config import load_profile, packaged_configs
from serve_app.app import START_ATTEMPTS
from serve_app.serve_config import CONTROLLER_ENVIRONMENT, render
from serve_app.settings import ENV_PREFIX, Settings

_RECOVERY = Path(__file__).parent.parent / "benchmarks" / "results" / "recovery.json"
_MODELS = "`autoscaling` in `models.yaml`"
_CODE = "`serve_app/serve_config.py`"

# Setting: why, and where to change it.
_SCALING = {
    "target_ongoing_requests": (
        "requests per replica that are aimed at: 1.5 × batch size, rounded up",
        f"the batch size; {_MODELS}",
    ),
    "look_back_period_s": ("the number of requests is averaged over it", _MODELS),
    "upscale_delay_s": (
        "the average must ask for more for so long; a replica starts in seconds, so it may be "
        "asked for soon",
        _MODELS,
    ),
    "downscale_delay_s": (
        "the average must ask for less for so long; between two folders of images people pause "
        "for minutes",
        _MODELS,
    ),
}
_CONTROLLER = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": (
        "a dead proxy refuses connections until three checks have failed: {proxy}"
    ),
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": (
        "a proxy that is not up after three times as long is killed and started anew; on a busy "
        "machine it may need more than 15 s"
    ),
}
_DEPLOYMENT = {
    "max_ongoing_requests": (
        "what a replica holds: the batch on the device, a full one waiting, and two; Serve's 5 "
        "would cap every batch",
        "the batch size",
    ),
    "max_queued_requests": (
        "what an ingress replica holds for a model; more is answered 503 with `Retry-After` at "
        "once instead of late",
        f"`{ENV_PREFIX}MAX_QUEUED_REQUESTS`",
    ),
    "health_check_period_s": (
        "a dead replica is noticed within it: {replica}",
        _CODE,
    ),
    "health_check_timeout_s": (
        "a replica that does not answer three checks of this length is replaced; on a crowded "
        "CPU an answer may take seconds",
        _CODE,
    ),
    "max_surge_percent": (
        "with 0 a change that replaces a replica stops the old one first; above it the new one "
        "starts first, and on a full GPU waits until there is room",
        "`max_surge_percent` in `models.yaml`",
    ),
    "graceful_shutdown_timeout_s": (
        "a replica that goes may finish its images for so long; what is left then runs on "
        "another one",
        _CODE,
    ),
    "graceful_shutdown_wait_loop_s": ("how often it looks whether it has finished", _CODE),
}
_HTTP = {
    "request_timeout_s": (
        "the proxy's own limit only backs up ours: 15 s above the longest transfer of a job",
        f"`{ENV_PREFIX}JOB_TRANSFER_SECONDS`",
    ),
    "keep_alive_timeout_s": (
        "SpheroSeg's backend keeps idle connections for 60 s; ours outlive them",
        _CODE,
    ),
}


def serving_table() -> str:
    """Ours and Serve's values, where three stand for HRNet, ResUNet Small and Advanced."""
    settings = Settings.model_construct()
    profile = load_profile(packaged_configs(), "local")
    config = render(profile, settings, "127.0.0.1", 8000)
    models = [
        entry
        for entry in config["applications"][0]["deployments"]
        if entry["name"] in profile.models
    ]
    scaling = [model["autoscaling_config"] for model in models]
    rows = [
        *_rows(_SCALING, scaling, AutoscalingConfig().model_dump()),
        *_rows(_DEPLOYMENT, models, DeploymentConfig().model_dump()),
        *_rows(_HTTP, [config["http_options"]], HTTPOptions().model_dump()),
        _row(
            "request_router_config",
            _value(models[0]["request_router_config"]["max_backoff_s"]),
            _value(DeploymentConfig().request_router_config.max_backoff_s),
            "its `max_backoff_s`: how long a handle waits at most before it asks replicas again "
            "that were full; 0.5 s is longer than many a batch, and a replica stood idle meanwhile",
            _CODE,
        ),
        _row(
            f"{ENV_PREFIX}REQUEST_TIMEOUT_SECONDS",
            f"{settings.request_timeout_seconds:g}",
            "none",
            "an image that is not answered by then gets 504; it bounds the wait for a cold start",
            "environment",
        ),
        _row(
            "max_constructor_retry_count",
            str(START_ATTEMPTS),
            _value(DeploymentConfig().max_constructor_retry_count),
            "a model that cannot start seldom can at the twentieth attempt",
            "`serve_app/app.py`",
        ),
        *(
            _row(
                name,
                ours,
                _value(getattr(constants, name.removeprefix("RAY_SERVE_"))),
                _CONTROLLER[name],
                "environment of `spheroserve up`, of the head on Kubernetes",
            )
            for name, ours in CONTROLLER_ENVIRONMENT.items()
        ),
    ]
    recovered = {kind: _recovered(kind) for kind in ("replica", "proxy")}
    rows = [row.format_map(recovered) for row in rows]
    head = ["| setting | ours | Serve's | why | where |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _recovered(kind: str) -> str:
    """How long a request waited after a kill, for our period and for Serve's."""
    result = json.loads(_RECOVERY.read_text(encoding="utf-8"))
    return ", ".join(
        f"{statistics.median(row[f'{kind}_s']):.1f} s with {row[f'{kind}_period_s']:g} s"
        for row in result["periods"]
    )


def _rows(
    texts: Mapping[str, tuple[str, str]],
    ours: list[dict[str, Any]],
    defaults: Mapping[str, Any],
) -> list[str]:
    rows = []
    for name, (why, where) in texts.items():
        values = [_value(each[name]) for each in ours]
        one = values[0] if len(set(values)) == 1 else " / ".join(values)
        rows.append(_row(name, one, _value(defaults[name]), why, where))
    return rows


def _row(name: str, ours: str, serves: str, why: str, where: str) -> str:
    return f"| `{name}` | {ours} | {serves} | {why} | {where} |"


def _value(value: float | None) -> str:
    if value is None or value == -1:
        return "none"
    return f"{value:g}"
