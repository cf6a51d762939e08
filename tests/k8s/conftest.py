from pathlib import Path

import pytest

from tests.k8s.rendered import OVERLAYS, Manifest, make_site, overlay


@pytest.fixture(scope="session")
def k8s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifests with a site's files; not to be written to."""
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, k8s: Path) -> list[Manifest]:
    """Every overlay, rendered."""
    return overlay(k8s, request.param)


@pytest.fixture
def green(k8s: Path) -> list[Manifest]:
    """The overlay for production, rendered."""
    return overlay(k8s, "green")
