import pytest
from ray.serve.schema import ServeDeploySchema

from deployments.config import Autoscaling, Profile, load_profile, packaged_configs
from deployments.scaling import replicas_wanted
from serve_app.serve_config import ongoing_requests, render, required_cpus, target_requests
from serve_app.settings import Settings


def deployments(profile: str | Profile) -> dict[str, dict[str, object]]:
    loaded = load_profile(packaged_configs(), profile) if isinstance(profile, str) else profile
    config = render(loaded, Settings(), "127.0.0.1", 8000)
    ServeDeploySchema.model_validate(config)
    return {entry["name"]: entry for entry in config["applications"][0]["deployments"]}


@pytest.mark.parametrize("profile", ["local", "gpu"])
def test_tunables_travel_in_user_config(profile: str) -> None:
    entries = deployments(profile)
    batches = {
        name: entry["user_config"]["max_batch_size"]  # type: ignore[index]
        for name, entry in entries.items()
        if name != "ingress"
    }
    assert batches == {"hrnet": 12, "resunet_small": 3, "resunet_advanced": 1}
    arguments = render(load_profile(packaged_configs(), profile), Settings(), "127.0.0.1", 8000)[
        "applications"
    ][0]["args"]
    assert "weights" not in arguments["models"]["hrnet"]
    assert "threshold" not in arguments["models"]["hrnet"]


def test_a_replica_holds_the_batch_on_the_device_and_the_next_one() -> None:
    entries = deployments("local")
    assert entries["hrnet"]["max_ongoing_requests"] == ongoing_requests(12) >= 24


def scaled(**autoscaling: object) -> Profile:
    """The packaged local profile with another autoscaling of hrnet."""
    loaded = load_profile(packaged_configs(), "local")
    autoscaled = Autoscaling.model_validate(autoscaling)
    hrnet = loaded.models["hrnet"].model_copy(update={"autoscaling": autoscaled})
    return loaded.model_copy(update={"models": {**loaded.models, "hrnet": hrnet}})


def test_the_load_that_autoscaling_aims_at_follows_from_the_batch_size() -> None:
    entries = deployments("local")
    targets = {
        name: entry["autoscaling_config"]["target_ongoing_requests"]  # type: ignore[index]
        for name, entry in entries.items()
        if name != "ingress"
    }
    assert targets == {"hrnet": 18, "resunet_small": 5, "resunet_advanced": 2}
    for batch in range(1, 257):
        assert batch < target_requests(batch) < ongoing_requests(batch)


def test_autoscaling_of_a_model_reaches_serve() -> None:
    entry = deployments(scaled(max_replicas=3, target_ongoing_requests=7, look_back_period_s=12))
    config = entry["hrnet"]["autoscaling_config"]
    assert config == {
        "min_replicas": 1,
        "max_replicas": 3,
        "target_ongoing_requests": 7,
        "look_back_period_s": 12,
        "upscale_delay_s": 10,
        "downscale_delay_s": 300,
        "policy": deployments("local")["hrnet"]["autoscaling_config"]["policy"],  # type: ignore[index]
    }
    assert entry["hrnet"]["max_surge_percent"] == 0


def test_a_model_that_may_go_to_zero_finds_room_when_it_comes_back() -> None:
    profile = scaled(min_replicas=0)
    config = deployments(profile)["hrnet"]["autoscaling_config"]
    module, _, name = config["policy"]["policy_function"].partition(":")  # type: ignore[index]
    assert (module, name) == (replicas_wanted.__module__, replicas_wanted.__name__)
    # Another policy would replace every replica of the application.
    assert config == {**deployments("local")["hrnet"]["autoscaling_config"], "min_replicas": 0}  # type: ignore[dict-item]
    assert required_cpus(profile) == required_cpus(load_profile(packaged_configs(), "local"))


def test_gpu_shares_reach_ray() -> None:
    for name, entry in deployments("gpu").items():
        options = entry["ray_actor_options"]
        assert options.get("num_gpus", 0) == (0 if name == "ingress" else 0.3)  # type: ignore[attr-defined]


def test_idle_connections_outlive_those_of_spheroseg() -> None:
    config = render(load_profile(packaged_configs(), "local"), Settings(), "127.0.0.1", 8000)
    assert config["http_options"]["keep_alive_timeout_s"] > 60
    assert config["http_options"]["request_timeout_s"] > Settings().request_timeout_seconds


def test_the_local_profile_fits_two_cores() -> None:
    assert required_cpus(load_profile(packaged_configs(), "local")) <= 2


def test_form_and_level_of_the_logs_reach_serve() -> None:
    settings = Settings(log_format="json", log_level="WARNING")
    config = render(load_profile(packaged_configs(), "local"), settings, "127.0.0.1", 8000)
    logging = ServeDeploySchema.model_validate(config).logging_config
    assert logging is not None
    assert (logging.encoding, logging.log_level) == ("JSON", "WARNING")
