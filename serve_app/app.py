"""Builds the Serve applications: the only place that binds deployments."""

from ray import serve
from ray.serve import Application

from deployments.config import ModelSpec, Strict
from deployments.segmenter import Segmenter
from serve_app.ingress import Ingress

INGRESS = "ingress"


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
        name: serve.deployment(Segmenter, name=name).bind(name, spec)
        for name, spec in specs.items()
    }
    return serve.deployment(serve.ingress()(Ingress), name=INGRESS).bind(specs, handles)
