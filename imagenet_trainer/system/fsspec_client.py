"""Ranges, sizes and lists of objects, through the file systems of fsspec.

The only module that opens fsspec; `object_storage` imports it when an object is used.
"""

import asyncio
import concurrent.futures
import logging
import os
from types import MethodType
from typing import Any, Coroutine, List, Mapping, NamedTuple, Optional, Tuple, TypeVar

import fsspec
from fsspec.config import conf

from imagenet_trainer.system.storage_faults import POLL, StorageError, check_abandoned

T = TypeVar("T")
_HTTP, _S3, _GCS = ("http", "https"), ("s3", "s3a"), ("gs", "gcs")
# They log errors with tracebacks, which would be on the terminal where nobody handles their logs.
for _library in ("fsspec", "s3fs", "gcsfs", "huggingface_hub"):
    logging.getLogger(_library).addHandler(logging.NullHandler())
_CONNECT, _SILENCE = 5.0, 15.0  # seconds without a connection or a byte over HTTP; those of s3fs
# What tells versions of an object apart, in the words of the file systems.
_VERSIONS = (
    "ETag", "etag", "md5Hash", "generation", "blob_id", "Last-Modified", "LastModified",
    "last_modified", "updated", "mtime", "created",
)  # fmt: skip


class Answer(NamedTuple):
    """Bytes of an object, and what the answer said about it; -1 and "": nothing."""

    data: bytes
    size: int = -1
    version: str = ""


class Client:
    """The file system of a protocol, with connections of its own.

    Every method raises what the library of the file system raises, and FileNotFoundError;
    ValueError and ImportError when it is made.
    """

    def __init__(self, protocol: str):
        options: Mapping[str, Any] = {}
        if protocol in _HTTP:
            options = {"client_kwargs": {"trust_env": True}}  # proxies, and ~/.netrc
        elif protocol in _S3:
            # `tried` has the retries; all threads of `remote_file` and of a loader are connected.
            config = {"retries": {"max_attempts": 0}, "max_pool_connections": 64}
            options = {"config_kwargs": config}
        elif protocol in _GCS:
            # Otherwise gcsfs asks for the kind of the bucket, for minutes where gRPC is blocked.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        own = conf.get(protocol, {})  # of the user
        options = {name: {**value, **own.get(name, {})} for name, value in options.items()}
        self._protocol = protocol
        self._system = fsspec.filesystem(
            protocol, use_listings_cache=False, skip_instance_cache=True, **options
        )
        if protocol in _S3:
            self._system.retries = 1
        elif protocol in _GCS:  # whose retries have no option
            once = getattr(type(self._system)._request, "__wrapped__", None)
            if once is not None:
                self._system._request = MethodType(once, self._system)

    def look(self, url: str) -> Optional[Tuple[int, str]]:
        """Size and version of an object; None for a folder."""
        if self._protocol in _HTTP:
            return self._run(self._http_range(url, 0, 1))[1:]
        path = self._system._strip_protocol(url)
        asynchronous = self._system.async_impl
        info = self._run(self._system._info(path)) if asynchronous else self._system.info(path)
        return (int(info["size"]), _version(info)) if info["type"] == "file" else None

    def read(self, url: str, begin: int, end: int) -> Answer:
        """A range of an object."""
        if self._protocol in _HTTP:
            return self._run(self._http_range(url, begin, end))
        if self._protocol in _S3:
            return self._run(self._s3_range(url, begin, end))
        path = self._system._strip_protocol(url)
        if self._system.async_impl:
            return Answer(self._run(self._system._cat_file(path, start=begin, end=end)))
        return Answer(self._system.cat_file(path, start=begin, end=end))

    def names(self, folder: str) -> List[str]:
        """Names of what is in a folder, in any form that ends with the name."""
        path = self._system._strip_protocol(folder)
        if self._system.async_impl:
            return self._run(self._system._ls(path, detail=False))
        return self._system.ls(path, detail=False)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine; Ctrl-C, `abandon_if` and the limit of `tried` end it."""
        future = asyncio.run_coroutine_threadsafe(work, self._system.loop)
        try:
            while not concurrent.futures.wait([future], POLL).done:
                check_abandoned()
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def _http_range(self, url: str, begin: int, end: int) -> Answer:
        """A range by HTTP; whether the server has ranges is known before it sends all."""
        import aiohttp

        options = dict(self._system.kwargs)
        headers = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
        headers["Range"] = f"bytes={begin}-{end - 1}"
        silence = aiohttp.ClientTimeout(None, sock_connect=_CONNECT, sock_read=_SILENCE)
        options.setdefault("timeout", silence)
        session = await self._system.set_session()
        async with session.get(self._system.encode_url(url), headers=headers, **options) as answer:
            if answer.status in (404, 410):
                raise FileNotFoundError(url)
            size = answer.headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status == 416 and size.isdecimal():  # the object is shorter
                return Answer(b"", int(size), _version(answer.headers))
            answer.raise_for_status()
            if answer.status != 206 or not size.isdecimal():
                raise StorageError(
                    f"{url}: its server cannot send parts of a file (Range); use another, such as "
                    "nginx, or copy the shards to this machine"
                )
            return Answer(await answer.read(), int(size), _version(answer.headers))

    async def _s3_range(self, url: str, begin: int, end: int) -> Answer:
        """A range by S3's protocol, whose answer has the version of the object."""
        bucket, key, _ = self._system.split_path(self._system._strip_protocol(url))
        try:
            answer = await self._system._call_s3(
                "get_object", Bucket=bucket, Key=key, Range=f"bytes={begin}-{end - 1}"
            )
        except OSError as error:
            response = getattr(error.__cause__, "response", {})
            if response.get("Error", {}).get("Code") == "InvalidRange":  # the object is shorter
                return Answer(b"", version="shorter")
            raise
        async with answer["Body"] as body:
            return Answer(await body.read(), version=_version(answer))


def _version(info: Mapping[str, Any]) -> str:
    return next((f"{name} {info[name]}" for name in _VERSIONS if info.get(name)), "")
