"""Files appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import IO, Iterator, Union

from imagenet_trainer.errors import InputError

AnyPath = Union[str, "os.PathLike[str]"]


def refusal(path: AnyPath, error: OSError, advice: str = "") -> InputError:
    """The one line for a file that the operating system does not let us write or read."""
    reason = error.strerror or str(error)
    return InputError(f"{os.fspath(path)}: {reason}{'; ' + advice if advice else ''}")


def remedy(error: OSError) -> str:
    """What helps against a file system that does not let us write, as an order to the reader."""
    return _REMEDIES.get(error.errno or 0, "make room")


_REMEDIES = {
    errno.ENOENT: "bring the folder back, it is gone (is its disk mounted?)",
    errno.ESTALE: "mount the network file system again",
    errno.EROFS: "mount the file system so that it can be written (one with errors becomes "
    "read-only, see dmesg)",
    errno.EACCES: "allow this user to write there",
    errno.EPERM: "allow this user to write there",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EDQUOT: "make room, your quota is used up",
    errno.EISDIR: "name a file",
    errno.EIO: "look after the disk (see dmesg)",
}


@contextlib.contextmanager
def atomic_write(path: AnyPath, mode: str = "wb") -> Iterator[IO]:
    """Open a file that takes its name only when the block ends without an error.

    It is written beside its place, fsynced and renamed, so a reader, a crash or a full disk
    never meets half of it and the file that was there before stays. Raises InputError naming
    the file when the disk is full or the folder read-only.
    """
    target = Path(path)
    if not target.name:
        raise InputError(f"{os.fspath(path)!r}: names no file; give a file's name")
    # The process number lets two commands write the same image without mixing their bytes.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    # Names of files may hold bytes that are not UTF-8; they are written as they are.
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape"}
    try:
        with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise refusal(target, error, f"{remedy(error)}, or choose another place") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_folder(folder: AnyPath) -> None:
    """Make renames inside a folder survive a power cut (where the file system can)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: AnyPath) -> Path:
    """Create a folder and its parents; InputError when that is not allowed."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(folder, error, "choose another place") from error
    return folder


def check_folder(path: str) -> None:
    """Raise InputError unless this is a folder that can be read."""
    if not os.path.exists(path):
        raise InputError(f"{path}: no such folder")
    if not os.path.isdir(path):
        raise InputError(f"{path}: not a folder; give the folder that holds the images")
    try:
        os.listdir(path)
    except OSError as error:
        raise refusal(path, error) from error


def is_hidden(path: str) -> bool:
    """Whether a part of a path begins with a dot: nobody's class, nobody's image.

    Such as .ipynb_checkpoints/1.jpg of notebooks and ._1.jpg of Macs.
    """
    return any(part.startswith(".") for part in path.split("/"))


def as_text(name: str) -> str:
    r"""A file's name as text for any file and figure: bytes that are not UTF-8 become `\xe4`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def read_bytes(path: Path) -> bytes:
    """The whole content; InputError naming the file where the operating system refuses it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise refusal(path, error) from error


def sha256(path: AnyPath) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces of 4 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 22), b""):
            digest.update(piece)
    return digest.hexdigest()
