"""S3 on this machine: moto's server, as the storage's own variables name it."""

import contextlib
import os
from pathlib import Path
from typing import Iterator
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
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with mock.patch.dict(os.environ, variables):
        try:
            yield S3()
        finally:
            server.stop()


class S3:
    """The client of a test, apart from that of the package."""

    def __init__(self) -> None:
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
