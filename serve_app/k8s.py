"""The part of the Kubernetes manifests that follows from our own configuration.

A RayService holds Serve's configuration as one string. It is written as a patch of its own, so
that ``kubectl kustomize`` puts it in place and nobody edits it by hand.
"""

import textwrap
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from deployments.config import load_profile
from deployments.errors import ConfigurationError
from serve_app.serve_config import render
from serve_app.settings import ENV_PREFIX, Settings

RAY_SERVICE = "spheroserve"
WEIGHTS_DIR = "/weights"
SERVE_PORT = 8000
# A proxy prefers the ingress of its own node: with one on each of two workers, the loss of a worker
# costs nothing of what came through the other.
INGRESSES = 2

PATCHES = {
    "gpu": Path("base/serve-config.yaml"),
    "local": Path("overlays/dev/serve-config.yaml"),
}
"""Where the configuration of each profile goes, below the folder of the manifests."""

_HEADER = """\
# Written by `spheroserve k8s render`; change models.yaml or batch_sizes.json instead.
apiVersion: ray.io/v1
kind: RayService
metadata:
  name: {name}
spec:
  serveConfigV2: |
"""


def render_patches(configs: Path, env_file: Path | None = None) -> dict[Path, str]:
    """Return the text of every patch, by its path below the folder of the manifests.

    The environment of the caller plays no part, so that everybody renders the same.

    Args:
        configs: The folder of configuration files.
        env_file: The ``.env`` file that the pods are given; None stands for the defaults.

    Raises:
        ConfigurationError: A file cannot be used; the sentence says why.
    """
    settings = read_settings(env_file)
    patches = {}
    for profile, path in PATCHES.items():
        loaded = load_profile(configs, profile, {"SPHEROSERVE_WEIGHTS_DIR": WEIGHTS_DIR})
        # In a pod the port is guarded by the NetworkPolicy and by API keys.
        config = render(loaded, settings, "0.0.0.0", SERVE_PORT, INGRESSES)
        patches[path] = patch_text(config)
    return patches


def patch_text(config: dict[str, Any]) -> str:
    """Return the patch that puts one Serve configuration into the RayService."""
    body = yaml.dump(config, Dumper=_PlainDumper, sort_keys=False)
    return _HEADER.format(name=RAY_SERVICE) + textwrap.indent(body, "    ")


def read_settings(env_file: Path | None) -> Settings:
    """Settings of a ``.env`` file alone; what the file leaves out has its default.

    Raises:
        ConfigurationError: A value cannot be used.
    """
    try:
        return _FileSettings(_env_file=env_file)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ENV_PREFIX + str(first["loc"][0]).upper()
        raise ConfigurationError(f"{env_file}: {name} cannot be used: {first['msg']}.") from None


class _PlainDumper(yaml.SafeDumper):
    """Writes what occurs twice twice: people read the manifests."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class _FileSettings(Settings):
    """Settings that look at one file and not at the environment."""

    model_config = SettingsConfigDict(extra="ignore")

    def __init__(self, _env_file: Path | None) -> None:
        BaseSettings.__init__(self, _env_file=_env_file)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (dotenv_settings,)
