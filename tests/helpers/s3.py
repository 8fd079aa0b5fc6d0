"""S3 on this machine: moto's server, as the storage's own variables name it."""

import contextlib
import itertools
import os
import socket
import urllib.request
from pathlib import Path
from typing import Any, Callable, Iterator
from unittest import mock

import pytest


@contextlib.contextmanager
def s3_server() -> Iterator["S3"]:
    """A server with the bucket `data`; s3:// is at it while the block runs."""
    for name in ("moto", "flask_cors", "s3fs"):
        pytest.importorskip(name)
    import logging

    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    # What another server of this process had is still there.
    reset = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    s3 = S3()
    server._server.app = s3.failing(server._server.app)
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with mock.patch.dict(os.environ, variables):
        try:
            s3.open()
            yield s3
        finally:
            server.stop()


class S3:
    """The client of a test, apart from that of the package, and the faults of the server.

    `fault` is asked for each request, with its number from 1 on, for 500, truncated, reset or "".
    """

    def __init__(self) -> None:
        self.fault: Callable[[int], str] = lambda number: ""
        self._asked = itertools.count(1)

    def failing(self, app: Any) -> Any:
        """The application of the server with the faults."""

        def answer(environ: Any, start_response: Any) -> Any:
            fault = self.fault(next(self._asked))
            if fault == "500":
                start_response("500 Internal Server Error", [("Content-Length", "0")])
                return [b""]
            if fault == "reset":
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            body = b"".join(app(environ, start_response))
            return [body[: len(body) // 2] if fault == "truncated" else body]

        return answer

    def open(self) -> None:
        """Connect to the server, and make the bucket."""
        import s3fs

        self.system = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        self.system.mkdir("data")

    def upload(self, folder: Path, *names: str) -> None:
        """Put files of a folder into the bucket."""
        for name in names:
            self.system.pipe_file(f"data/{name}", (folder / name).read_bytes())

    def remove(self, name: str) -> None:
        """Remove an object."""
        self.system.rm_file(f"data/{name}")
