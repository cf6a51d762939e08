"""An S3 server for the tests: moto's, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3

# It checks no signature.
_ANYONE = "anyone"
_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        url: Its endpoint.
        process: Its process.
    """

    url: str
    process: "subprocess.Popen[str]"

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which s3fs finds it and logs in, as an operator would set them."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _ANYONE,
            "AWS_SECRET_ACCESS_KEY": _ANYONE,
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }

    def client(self) -> "boto3.client":
        """A client that looks into the server beside the product."""
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1")


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server without buckets; end it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A line for every request.
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield S3Server(f"http://127.0.0.1:{port}", process)
    finally:
        process.kill()
        process.wait()
