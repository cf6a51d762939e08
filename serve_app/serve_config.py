"""Renders a profile into Ray Serve's own configuration (``ServeDeploySchema``).

``spheroserve up``, the tests and Kubernetes all deploy what this module renders.
"""

import math
from typing import Any

from deployments.config import ModelConfig, Profile
from deployments.job_worker import JobLimits
from serve_app.exposure import Exposure
from serve_app.settings import Settings

INFERENCE = "inference"
JOBS = "jobs"
NOTIFIER = "notifier"
INGRESS = "ingress"
INGRESS_CPUS = 0.25
JOBS_CPUS = 0.1
NOTIFIER_CPUS = 0.05

# The proxy's own time limit only backs up ours, which answers in our words.
_PROXY_GRACE_S = 15
# SpheroSeg's backend keeps idle connections for 60 s; ours must outlive them.
_KEEP_ALIVE_S = 90
# A dead replica is noticed within a second; with Serve's default of 10 s recovery takes that.
_HEALTH_CHECK_PERIOD_S = 1
_HEALTH_CHECK_TIMEOUT_S = 30
_DRAIN_S = 6
# The same for every model, whatever its limits: Serve replaces all replicas of an application
# when a policy in it changes.
_POLICY = "deployments.scaling:replicas_wanted"
# For those who start the controller, which looks after the proxies. A dead one refuses connections
# until three checks have failed. One that takes long to start on a busy machine is not dead: after
# Serve's own 5 s, three times, it would be killed.
CONTROLLER_ENVIRONMENT = {
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
}
# How long a handle waits before it asks full replicas again. Serve's own 0.5 s is longer than many
# a batch: the replica stood idle meanwhile, and 64 clients got half of what it can do.
_ROUTER = {"initial_backoff_s": 0.02, "backoff_multiplier": 2.0, "max_backoff_s": 0.05}


def render(
    profile: Profile, settings: Settings, host: str, port: int, ingresses: int = 1
) -> dict[str, Any]:
    """Return the configuration as plain values, ready for YAML or JSON.

    Args:
        profile: The models to serve.
        settings: Settings of the HTTP edge.
        host: Address that the proxy listens on.
        port: Port that the proxy listens on.
        ingresses: Replicas of the ingress, which Serve spreads over the nodes.

    Raises:
        ConfigurationError: A model could never scale.
    """
    specs = {name: model.spec().model_dump() for name, model in profile.models.items()}
    exposure = Exposure(host=host, allow_open_cluster=settings.allow_open_cluster).model_dump()
    return {
        "proxy_location": "EveryNode",
        "http_options": {
            "host": host,
            "port": port,
            "request_timeout_s": _PROXY_GRACE_S
            + max(settings.request_timeout_seconds, settings.job_transfer_seconds),
            "keep_alive_timeout_s": _KEEP_ALIVE_S,
        },
        "logging_config": {
            "encoding": settings.log_format.upper(),
            "log_level": settings.log_level,
        },
        "applications": [
            {
                "name": INFERENCE,
                "route_prefix": "/",
                "import_path": "serve_app.app:build_inference",
                "args": {"models": specs, "exposure": exposure},
                "deployments": [
                    *(_model(name, profile, settings) for name in profile.models),
                    _ingress(profile, ingresses),
                ],
            },
            {
                "name": JOBS,
                "route_prefix": None,
                "import_path": "serve_app.app:build_jobs",
                "args": {
                    "models": specs,
                    "limits": _job_limits(settings).model_dump(),
                    "inference": INFERENCE,
                    "exposure": exposure,
                },
                "deployments": [_single(JOBS, JOBS_CPUS), _single(NOTIFIER, NOTIFIER_CPUS)],
            },
        ],
    }


def required_cpus(profile: Profile) -> float:
    """Logical CPUs that the profile needs with the fewest replicas of each model.

    A model that may go to zero counts with one replica: it must find room when it comes back.
    """
    models = profile.models.values()
    fixed = INGRESS_CPUS + JOBS_CPUS + NOTIFIER_CPUS
    return fixed + sum(model.num_cpus * max(1, model.autoscaling.min_replicas) for model in models)


def _model(name: str, profile: Profile, settings: Settings) -> dict[str, Any]:
    model = profile.models[name]
    tunables = model.tunables(profile.batch_sizes, name)
    return {
        "name": name,
        "user_config": tunables.model_dump(),
        "max_ongoing_requests": ongoing_requests(tunables.max_batch_size),
        "max_queued_requests": settings.max_queued_requests,
        "autoscaling_config": _autoscaling(model, tunables.max_batch_size),
        "request_router_config": _ROUTER,
        "max_surge_percent": model.max_surge_percent,
        "ray_actor_options": {"num_cpus": model.num_cpus, "num_gpus": model.num_gpus},
        "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": _DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
    }


def ongoing_requests(batch_size: int) -> int:
    """Requests that a replica holds at once: the batch on the device and a full one waiting.

    Serve's default of 5 would cap every batch at 5 images.
    """
    return 2 * batch_size + 2


def target_requests(batch_size: int) -> int:
    """Requests per replica that autoscaling aims at: a batch on the device and half of one.

    Above it, more than half of the next batch waits already. It stays below what a replica
    holds, so that load shows before requests queue in front of the replicas.
    """
    return math.ceil(1.5 * batch_size)


def _autoscaling(model: ModelConfig, batch_size: int) -> dict[str, Any]:
    scaling = model.autoscaling
    target = scaling.target_ongoing_requests or target_requests(batch_size)
    return {
        "min_replicas": scaling.min_replicas,
        "max_replicas": scaling.max_replicas,
        "target_ongoing_requests": target,
        "look_back_period_s": scaling.look_back_period_s,
        "upscale_delay_s": scaling.upscale_delay_s,
        "downscale_delay_s": scaling.downscale_delay_s,
        "policy": {"policy_function": _POLICY},
    }


def _ingress(profile: Profile, replicas: int) -> dict[str, Any]:
    sizes = {name: profile.batch_sizes.of(name) for name in profile.models}
    return {
        "name": INGRESS,
        "user_config": {
            name: {
                "optimal_batch_size": size.optimal_batch_size,
                "max_safe_batch_size": size.max_safe_batch_size,
                "expected_throughput": size.expected_throughput,
                "threshold": profile.models[name].threshold,
            }
            for name, size in sizes.items()
        },
        # An ingress replica only waits; its limit is memory, which the body limit bounds.
        "max_ongoing_requests": 256,
        "num_replicas": replicas,
        "ray_actor_options": {"num_cpus": INGRESS_CPUS},
        "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": _DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
    }


def _job_limits(settings: Settings) -> JobLimits:
    """An image of a job may take what an image of a request may take."""
    return JobLimits(
        max_image_pixels=settings.max_image_pixels,
        image_seconds=settings.request_timeout_seconds,
        decode_workers=settings.decode_workers,
        decode_memory_mb=settings.decode_memory_mb,
        decode_cpu_seconds=settings.decode_cpu_seconds,
        decode_wall_seconds=settings.decode_wall_seconds,
        metrics_convention=settings.metrics_convention,
    )


def _single(name: str, cpus: float) -> dict[str, Any]:
    """A deployment of one replica that waits more than it computes."""
    return {
        "name": name,
        "num_replicas": 1,
        # Those who follow a job wait within a call.
        "max_ongoing_requests": 1000,
        "ray_actor_options": {"num_cpus": cpus},
        "health_check_period_s": _HEALTH_CHECK_PERIOD_S,
        "health_check_timeout_s": _HEALTH_CHECK_TIMEOUT_S,
        "graceful_shutdown_timeout_s": _DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
    }
