"""A Ray cluster on this machine that lives as long as its owner wants.

``spheroserve up`` and the tests run the service through it.
"""

import contextlib
import logging
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import psutil
import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.api import serve_start
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus, ServeDeploySchema

from deployments.errors import ConfigurationError
from deployments.inference.memory.heap import ONE_HEAP
from serve_app.serve_config import CONTROLLER_ENVIRONMENT, INGRESS

log = logging.getLogger(__name__)

_POLL_S = 0.1
_DRAIN_S = 6.0
_LAST_ANSWERS_S = 0.3
_END_S = 13.0
_OBJECT_STORE_BYTES = 1024**3


def check_port(host: str, port: int) -> None:
    """Refuse a port that somebody listens on.

    Raises:
        ConfigurationError: It is taken, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
            ) from error


class LocalCluster:
    """Ray, Serve and the applications of one rendered configuration.

    Use as a context manager: leaving it takes no more images, gives those at work 6 seconds,
    and leaves no process behind.

    Args:
        config: What ``serve_app.serve_config.render`` returns.
        cpus: Logical CPUs that the deployments need; the machine may have more.
        gpus: Logical GPUs; None takes those of the machine.
    """

    def __init__(self, config: dict[str, Any], cpus: float, gpus: float | None = None) -> None:
        self._config = config
        self._cpus = cpus
        self._gpus = gpus
        self._before: set[psutil.Process] = set()

    def __enter__(self) -> "LocalCluster":
        self.start()
        return self

    def start(self) -> None:
        """Start Ray and Serve, and deploy; returns before the applications run."""
        defaults = {"RAY_USAGE_STATS_ENABLED": "0", **CONTROLLER_ENVIRONMENT}
        for name, value in [*defaults.items(), ONE_HEAP]:
            os.environ.setdefault(name, value)
        self._before = set(psutil.Process().children())
        cpus = max(os.cpu_count() or 1, math.ceil(self._cpus))
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=self._gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
            serve_start(
                http_options=self._config["http_options"],
                proxy_location=self._config["proxy_location"],
            )
            self.deploy(self._config)
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def deploy(self, config: dict[str, Any]) -> None:
        """Hand the configuration to Serve; returns before the applications run."""
        client = serve.context._get_global_client()
        client.deploy_apps(ServeDeploySchema.model_validate(config))

    def wait_until_running(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Wait until every application is healthy.

        Args:
            stopped: Asked again and again; True ends the wait.

        Returns:
            False if ``stopped`` ended the wait.

        Raises:
            ConfigurationError: An application cannot be deployed; the sentence says why.
        """
        names = [application["name"] for application in self._config["applications"]]
        while not stopped():
            applications = serve.status().applications
            states = {name: applications[name] for name in names if name in applications}
            for name, state in states.items():
                if state.status == ApplicationStatus.DEPLOY_FAILED:
                    raise ConfigurationError(f"{name} cannot be deployed: {_reason(state)}")
            if len(states) == len(names) and all(
                state.status == ApplicationStatus.RUNNING for state in states.values()
            ):
                return True
            time.sleep(_POLL_S)
        return False

    def stop(self) -> None:
        """Drain, shut down, and end whatever is still there after 13 seconds."""
        started = set(psutil.Process().children()) - self._before
        family = [process for parent in started for process in _family(parent)]
        names = [application["name"] for application in self._config["applications"]]
        worker = threading.Thread(target=_shut_down, args=(names,), daemon=True)
        worker.start()
        worker.join(_END_S)
        if worker.is_alive():
            log.warning("Ray did not stop within %s s; ending its processes", _END_S)
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=1)


def _family(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _shut_down(applications: Sequence[str]) -> None:
    if ray.is_initialized():
        try:
            for name in applications:
                _drain(name)
            serve.shutdown()
        except (RayError, RayServeException, TimeoutError) as error:
            log.warning("Serve did not shut down cleanly: %s", error)
        finally:
            ray.shutdown()


def _drain(application: str) -> None:
    """Let the ingress of an application finish what it has; the proxies die without asking."""
    state = serve.status().applications.get(application)
    if state is None or state.status != ApplicationStatus.RUNNING:
        return
    if INGRESS not in state.deployments:
        return
    ingress = serve.get_deployment_handle(INGRESS, application)
    left = sum(ingress.broadcast("drain", _DRAIN_S).results(timeout_s=_DRAIN_S + 1))
    if left:
        log.warning("%d images were not done within %s s", left, _DRAIN_S)
    else:
        # The last answers are on their way through the proxy.
        time.sleep(_LAST_ANSWERS_S)


def _reason(state: Any) -> str:
    """The most telling line of what Serve says about a failed application."""
    texts = [deployment.message for deployment in state.deployments.values()]
    lines = [line.strip() for text in (*texts, state.message) for line in text.splitlines()]
    errors = [line for line in lines if ".errors." in line or "Error:" in line]
    return errors[-1].split(": ", 1)[-1] if errors else (state.message or "no reason given")
