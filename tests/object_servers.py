"""An S3 server that tests start, where its package is installed."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A bucket of an S3 server that the tests start."""
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    port = 20_000 + os.getpid() % 20_000
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "testing")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-word")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(request).close()
                    break
                except OSError:
                    if time.monotonic() > until or server.poll() is not None:
                        raise
            yield "s3://bucket"
    finally:
        server.terminate()
        server.wait()
