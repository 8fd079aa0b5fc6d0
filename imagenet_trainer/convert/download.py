"""Fetches files of parameters: `hf://OWNER/NAME` from Hugging Face, or an address."""

import hashlib
import http.client
import os
from pathlib import Path
from typing import IO, List, Tuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from imagenet_trainer.errors import ArgumentError, print_message
from imagenet_trainer.system.files import atomic_write, make_folder

HUGGING_FACE = "hf://"
_SCHEMES = (HUGGING_FACE, "https://", "http://")
_PARAMETERS, _CONFIG = "model.safetensors", "config.json"
_TIMEOUT = 30  # seconds without a byte
_MEGABYTE = 1 << 20


def is_address(file: str) -> bool:
    """Whether this is an address and not a path."""
    return file.startswith(_SCHEMES)


def name_of(address: str) -> str:
    """A name for a run with these parameters: that of the repository, or of the file."""
    path = Path(urlsplit(address).path)
    return path.name if address.startswith(HUGGING_FACE) else path.stem


def fetch(address: str, models: Path) -> str:
    """The path of the file in the folder `models`; it is fetched if it is not there.

    Hugging Face's address is that of the variable HF_ENDPOINT, as in its own library.
    Raises ArgumentError with the address and what to do if it cannot be fetched.
    """
    folder, files = _files(address, models)
    parameters = folder / files[-1][1]
    if parameters.exists():  # which come last
        return str(parameters)
    try:
        for url, name, is_needed in files:
            _fetch(url, folder / name, is_needed)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise ArgumentError(
            "file", address, f"cannot be fetched ({reason}); on a connected machine "
            f"fetch {files[-1][0]}, copy it here and give its path with --file"
        ) from error  # fmt: skip
    return str(parameters)


def _files(address: str, models: Path) -> Tuple[Path, List[Tuple[str, str, bool]]]:
    """The folder for the files; (address, name, whether it must exist), the parameters last."""
    parts = urlsplit(address)
    if not address.startswith(HUGGING_FACE):
        name = Path(parts.path).name
        if not parts.hostname or not name:
            raise ArgumentError("file", address, "is not the address of a file; give all of it")
        # Many addresses end in model.safetensors, and some contain a password.
        digest = hashlib.sha256(address.encode()).hexdigest()[:12]
        return models / f"{parts.hostname}-{digest}", [(address, name, True)]
    repository = address[len(HUGGING_FACE) :].strip("/")
    owner, _, name = repository.partition("/")
    if not name or "/" in name or {owner, name} & {"", ".", ".."}:
        raise ArgumentError(
            "file", address, "must be hf://OWNER/NAME, such as hf://timm/resnet18.tv_in1k"
        )
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    base = f"{endpoint}/{quote(repository)}/resolve/main/"
    return models / f"{owner}-{name}", [
        (base + _CONFIG, _CONFIG, False),
        (base + _PARAMETERS, _PARAMETERS, True),
    ]


def _fetch(url: str, path: Path, is_needed: bool) -> None:
    make_folder(path.parent)
    try:
        with urlopen(Request(url), timeout=_TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            if is_needed:
                print_message("published", f"fetching {url} ({size / _MEGABYTE:,.0f} MiB)")
            with atomic_write(path) as file:
                _copy(answer, file, size)
    except HTTPError as error:
        if is_needed or error.code != 404:
            raise


def _copy(answer: IO[bytes], file: IO[bytes], size: int) -> None:
    """Copy what arrives; HTTPException if it breaks off, so that no disk is blamed for it."""
    while True:
        try:
            part = answer.read(_MEGABYTE)
        except OSError as error:
            raise http.client.HTTPException(str(error)) from error
        if not part:
            break
        file.write(part)
    if size and file.tell() != size:
        raise http.client.HTTPException(f"{file.tell():,} of {size:,} bytes arrived")
