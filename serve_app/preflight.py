"""Checks a profile before anything starts, so that a fault is one sentence and not a wait."""

from pathlib import Path

import torch

from deployments.config import ModelConfig, Profile
from deployments.errors import ConfigurationError, WeightsError
from deployments.inference import checkpoints
from deployments.inference.images.transforms import get_preset
from deployments.inference.memory.limits import check_gpu_shares
from deployments.inference.models import resolve_model
from deployments.job_settings import JobSettings
from deployments.mail.settings import MailSettings


def check_profile(profile: Profile, gpus: int | None = None) -> list[str]:
    """Check that every model of a profile can be built and loaded.

    Args:
        profile: The models.
        gpus: GPUs of the node in question; None counts those of this machine.

    Returns:
        One line per model, for people.

    Raises:
        ConfigurationError: Something cannot work; the sentence names the model.
    """
    check_devices(profile, gpus)
    return [f"{name}: {_check_model(name, model)}" for name, model in profile.models.items()]


def check_jobs() -> None:
    """Check where jobs are stored and how mail is sent, for a service on this machine.

    Raises:
        ConfigurationError: It cannot work, or would lose jobs.
    """
    JobSettings.from_environment().check(nodes=1)
    MailSettings()


def check_devices(profile: Profile, gpus: int | None = None) -> None:
    """Refuse a profile for GPUs on a machine without one; Ray would wait for it for ever."""
    wanted = [name for name, model in profile.models.items() if model.device == "cuda"]
    if gpus is None:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted and not gpus:
        raise ConfigurationError(
            f"profile '{profile.name}' needs a GPU for {', '.join(wanted)}, and there is none that "
            "torch can use; start with --profile local"
        )
    if wanted:
        check_gpu_shares(gpu_shares(profile), gpus)


def gpu_shares(profile: Profile) -> dict[str, float]:
    """GPU share of the fewest replicas of each model on a GPU."""
    return {
        name: model.num_gpus * max(1, model.autoscaling.min_replicas)
        for name, model in profile.models.items()
        if model.device == "cuda"
    }


def _check_model(name: str, model: ModelConfig) -> str:
    try:
        get_preset(model.preset)
        tunables = model.weights_and_widths()
        widths = tunables.widths
        described = "untrained weights"
        if tunables.weights_path is not None:
            metadata = checkpoints.read_metadata(existing(tunables.weights_path))
            widths, described = metadata.widths, tunables.weights_path.name
        with torch.device("meta"):
            network = resolve_model(model.implementation).build(widths, model.input_size)
    except ConfigurationError as error:
        raise type(error)(f"{name}: {error}") from error
    parameters = sum(parameter.numel() for parameter in network.parameters())
    size = model.input_size
    return f"{parameters:,} parameters, input {size} x {size}, {model.device}, {described}"


def existing(path: Path) -> Path:
    """Return the path of a file that is there.

    Raises:
        WeightsError: It is not.
    """
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}")
    return path
