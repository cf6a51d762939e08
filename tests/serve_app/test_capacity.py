import pytest
from click.testing import CliRunner

from deployments.config import Autoscaling, Profile, load_profile, packaged_configs
from serve_app.capacity import Node, describe_capacity, replicas_that_fit
from serve_app.cli import cli


def profile(name: str, **hrnet: object) -> Profile:
    """A packaged profile with hrnet changed."""
    loaded = load_profile(packaged_configs(), name)
    changed = loaded.models["hrnet"].model_copy(update=hrnet)
    return loaded.model_copy(update={"models": {**loaded.models, "hrnet": changed}})


@pytest.mark.parametrize(("gpus", "fits"), [(0, 0), (1, 1), (2, 4), (3, 7)])
def test_each_gpu_holds_three_shares_of_three_tenths(gpus: int, fits: int) -> None:
    """By the sum of what is left, three GPUs would hold 8 replicas beside the other models."""
    assert replicas_that_fit(profile("gpu"), "hrnet", Node(64, gpus)) == fits


def test_a_replica_is_not_spread_over_two_gpus() -> None:
    """The other two take 0.6 of one GPU: 1.4 are left in sum, and 0.7 fits once."""
    assert replicas_that_fit(profile("gpu", num_gpus=0.7), "hrnet", Node(64, 2)) == 1


def test_cpus_limit_replicas_as_well_as_gpus() -> None:
    """0.4 CPUs for the single deployments and 2 for the other models leave 2.6 for replicas."""
    assert replicas_that_fit(profile("gpu"), "hrnet", Node(5, 8)) == 2


def test_ten_tenths_fill_a_gpu() -> None:
    loaded = profile("gpu", num_gpus=0.1, num_cpus=0)
    alone = loaded.model_copy(update={"models": {"hrnet": loaded.models["hrnet"]}})
    assert replicas_that_fit(alone, "hrnet", Node(64, 1)) == 10


def test_one_gpu_is_said_to_leave_no_room() -> None:
    lines = describe_capacity(profile("gpu"), Node(8, 1))
    assert len(lines) == 3
    for line in lines:
        assert "no room for a second replica or a surge (max_replicas 1, surge 0)" in line


def test_autoscaling_beyond_the_node_is_a_warning_with_the_number_that_fits() -> None:
    wide = profile("gpu", autoscaling=Autoscaling(max_replicas=4))
    first, *others = describe_capacity(wide, Node(8, 1))
    assert first.startswith("warning: hrnet: max_replicas is 4, and 1 of 0.3 GPU")
    assert "set max_replicas 1" in first
    assert not any(line.startswith("warning") for line in others)


def test_room_for_a_surge_is_counted() -> None:
    line = describe_capacity(profile("gpu"), Node(8, 2))[0]
    assert line.endswith("4 fit (max_replicas 1, surge 3)")


def test_check_config_says_what_fits() -> None:
    result = CliRunner().invoke(cli, ["check-config", "--profile", "local"])
    assert result.exit_code == 0, result.output
    assert "hrnet: replicas of 0.5 CPU on" in result.output
