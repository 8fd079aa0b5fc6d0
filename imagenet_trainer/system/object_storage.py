"""Objects on other machines: s3://, gs://, hf://, http:// and https://, and others of fsspec.

Faults that may pass are retried; what remains is a StorageError in one line. Each process has its
own connections, also after a fork.
"""

import os
import posixpath
import re
import secrets
import threading
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from imagenet_trainer.system.storage_faults import StorageError, tried
from imagenet_trainer.system.wheels import pip_install

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_OF_EXTRA = ("s3", "s3a", "gs", "gcs", "hf", "http", "https")  # what [storage] installs
_FRESH = 30.0  # seconds for which an object is not asked again for its size and version
_UNKNOWN_VERSION = f"process {secrets.token_hex(8)}"  # is not the same in the next process


class StoredObject(NamedTuple):
    """An object as it was found: its size in bytes, and what changes when it is replaced."""

    url: str
    size: int
    version: str


def is_url(path: str) -> bool:
    """Whether this is a URL, such as s3://bucket/train.rec, and not a path."""
    return _URL.match(path) is not None


def check_url(url: str) -> None:
    """StorageError for a URL with a secret, which would be stored with the run."""
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if "?" in url:
        raise StorageError(
            f"{shown}: what follows the ? may be a signature, which is not stored with a run; omit "
            "it, and configure the credentials of the storage (docs/object-storage.md)"
        )
    if parts.scheme in ("http", "https") and "@" in parts.netloc:
        raise StorageError(
            f"{shown}: its password is not stored with a run; omit it, and put it into ~/.netrc"
        )


# --- this process --------------------------------------------------------------------------------


class _State:
    """Connections and what is known about objects, of one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clients: Dict[str, Any] = {}
        self.found: Dict[str, Tuple[float, StoredObject]] = {}


_state = _State()
_of_parents: List[_State] = []  # kept: closing connections of the parent would disturb it


def _after_fork() -> None:
    global _state
    _of_parents.append(_state)
    _state = _State()


os.register_at_fork(after_in_child=_after_fork)


def _client(url: str) -> Any:
    """The client of a URL's protocol; StorageError if its library is missing."""
    protocol = url.partition("://")[0].lower()
    with _state.lock:
        if protocol not in _state.clients:
            try:
                from imagenet_trainer.system import fsspec_client

                _state.clients[protocol] = fsspec_client.Client(protocol)
            except ImportError as error:
                reason = " ".join(str(error).split())
                way_out = pip_install("storage") if protocol in _OF_EXTRA else "install it with pip"
                raise StorageError(
                    f"{protocol}://: needs another library ({reason}); {way_out}"
                ) from error
            except ValueError as error:
                raise StorageError(
                    f"{protocol}://: is no storage that can be read ({error}); give s3://, gs://, "
                    "hf://, https:// or a path"
                ) from error
        return _state.clients[protocol]


# --- objects -------------------------------------------------------------------------------------


def find_object(url: str) -> Optional[StoredObject]:
    """Size and version of an object, None if there is none; StorageError if nothing is known.

    What was found is not asked again for half a minute.
    """
    check_url(url)
    known = _state.found.get(url)
    if known and time.monotonic() - known[0] < _FRESH:
        return known[1]
    try:
        found = tried(url, lambda: _client(url).look(url))
    except FileNotFoundError:
        return None
    if found is None:
        return None
    stored = StoredObject(url, found[0], found[1] or _UNKNOWN_VERSION)
    _state.found[url] = time.monotonic(), stored
    return stored


def fetch(stored: StoredObject, begin: int, end: int) -> bytes:
    """The bytes of a range of an object.

    Raises StorageError if they cannot be read, or are not those of the object that was found.
    """
    try:
        return tried(stored.url, lambda: _fetch(stored, begin, end))
    except FileNotFoundError as error:
        raise _changed(stored.url, "is gone") from error


def _fetch(stored: StoredObject, begin: int, end: int) -> bytes:
    data, size, version = _client(stored.url).read(stored.url, begin, end)
    if not version:  # the answer does not say
        now = find_object(stored.url)
        if now is not None:
            size, version = now.size, now.version
    if version != stored.version or size not in (-1, stored.size):
        raise _changed(stored.url, "was replaced")
    if len(data) != end - begin:
        raise ConnectionError(f"{len(data):,} of {end - begin:,} bytes arrived")
    return data


def _changed(url: str, how: str) -> StorageError:
    return StorageError(
        f"{url}: {how} while it was read; run the same command again, which continues if the "
        "images are the same"
    )


def list_folder(url: str) -> List[str]:
    """The URLs of the objects in a folder, sorted; none if it has none or its server lists none.

    An address of http(s) is listed by the links of its page.
    """
    check_url(url)
    folder = url.rstrip("/")
    path = folder + "/" if folder.lower().startswith(("http://", "https://")) else folder
    try:
        found = tried(folder, lambda: _client(folder).names(path))
    except FileNotFoundError:
        return []
    return sorted({f"{folder}/{posixpath.basename(one)}" for one in found})
