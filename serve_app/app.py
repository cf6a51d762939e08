"""Builds the Serve applications: the only place that binds deployments."""

from ray import serve
from ray.serve import Application

from deployments.config import ModelSpec, Strict
from deployments.job_runner import Jobs
from deployments.job_worker import JobLimits
from deployments.notifier import Notifier
from deployments.segmenter import Segmenter
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
    """

    models: dict[str, ModelSpec]


def build_inference(args: InferenceArgs) -> Application:
    """The application ``inference``: one deployment per model and the ingress before them."""
    specs = {name: spec.model_dump() for name, spec in args.models.items()}
    handles = {
        name: serve.deployment(
            Segmenter, name=name, max_constructor_retry_count=START_ATTEMPTS
        ).bind(name, spec)
        for name, spec in specs.items()
    }
    return serve.deployment(serve.ingress()(Ingress), name=INGRESS).bind(specs, handles)


class JobsArgs(Strict):
    """Arguments of the application ``jobs``.

    Attributes:
        models: The models of the application ``inference``.
        limits: What one image may take.
        inference: Name of that application.
    """

    models: dict[str, ModelSpec]
    limits: JobLimits
    inference: str


def build_jobs(args: JobsArgs) -> Application:
    """The application ``jobs``: the jobs and the mails about them."""
    specs = {name: spec.model_dump() for name, spec in args.models.items()}
    limits = args.limits.model_dump()
    notifier = serve.deployment(Notifier, name=NOTIFIER).bind(list(specs), limits, args.inference)
    return serve.deployment(Jobs, name=JOBS).bind(specs, limits, args.inference, notifier)
