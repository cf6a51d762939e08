"""Builds the Serve applications: the only place that binds deployments."""

import ray
from ray import serve
from ray.serve import Application

from deployments.config import ModelSpec, Strict
from deployments.job_runner import Jobs
from deployments.job_worker import JobLimits
from deployments.notifier import Notifier
from deployments.segmenter import Segmenter
from serve_app.exposure import Exposure, check_cluster
from serve_app.ingress import Ingress
from serve_app.serve_config import INGRESS

JOBS = "jobs"
NOTIFIER = "notifier"
# A model that cannot start seldom can at the twentieth attempt, Serve's default. A rendered
# configuration cannot say this.
START_ATTEMPTS = 3


class InferenceArgs(Strict):
    """Arguments of the application ``inference``.

    Attributes:
        models: What of each model is fixed for the life of its replicas. Everything that may
            change without a restart is in the deployments' ``user_config``.
        exposure: Who may reach the service.
    """

    models: dict[str, ModelSpec]
    exposure: Exposure = Exposure()


def build_inference(args: InferenceArgs) -> Application:
    """The application ``inference``: one deployment per model and the ingress before them.

    Raises:
        ConfigurationError: The cluster is open to strangers.
    """
    _check(args.exposure)
    specs = {name: spec.model_dump() for name, spec in args.models.items()}
    handles = {
        name: serve.deployment(
            Segmenter, name=name, max_constructor_retry_count=START_ATTEMPTS
        ).bind(name, spec)
        for name, spec in specs.items()
    }
    return serve.deployment(serve.ingress()(Ingress), name=INGRESS).bind(
        specs, handles, args.exposure.host
    )


class JobsArgs(Strict):
    """Arguments of the application ``jobs``.

    Attributes:
        models: The models of the application ``inference``.
        limits: What one image may take.
        inference: Name of that application.
        exposure: Who may reach the service.
    """

    models: dict[str, ModelSpec]
    limits: JobLimits
    inference: str
    exposure: Exposure = Exposure()


def build_jobs(args: JobsArgs) -> Application:
    """The application ``jobs``: the jobs and the mails about them.

    Raises:
        ConfigurationError: The cluster is open to strangers.
    """
    _check(args.exposure)
    specs = {name: spec.model_dump() for name, spec in args.models.items()}
    limits = args.limits.model_dump()
    notifier = serve.deployment(Notifier, name=NOTIFIER).bind(list(specs), limits, args.inference)
    return serve.deployment(Jobs, name=JOBS).bind(specs, limits, args.inference, notifier)


def _check(exposure: Exposure) -> None:
    # Serve builds applications in a process of the cluster.
    check_cluster(ray.get_runtime_context().gcs_address, exposure.allow_open_cluster)
