"""Atomic writes, and errors of the file system in one line."""

import contextlib
import errno
import hashlib
import json
import os
import re
import time
import zlib
from pathlib import Path
from typing import IO, Any, Callable, Iterable, Iterator, List, Optional, Set, Tuple, Union

from imagenet_trainer.errors import InputError, TemporaryError, is_temporary, is_unreachable
from imagenet_trainer.text import CsvWriter

AnyPath = Union[str, "os.PathLike[str]"]


def file_error(path: AnyPath, error: OSError, advice: str = "") -> InputError:
    """InputError in one line for a file that cannot be read or written.

    TemporaryError where the disk or the file system fails, which gets its own advice if none is
    given.
    """
    kind = TemporaryError if is_temporary(error) else InputError
    if kind is TemporaryError and not advice:
        advice = f"{remedy(error)}, and run the same command again"
    reason = error.strerror or str(error)
    return kind(f"{os.fspath(path)}: {reason}{'; ' + advice if advice else ''}")


def is_of_file(error: OSError) -> bool:
    """Whether a file itself cannot be read, rather than any: it may be left out then."""
    of_process = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return error.errno not in of_process and not is_unreachable(error)


def remedy(error: OSError) -> str:
    """The way out of an error of the file system, as an instruction to the user."""
    default = "check the network file system" if is_temporary(error) else "free some space"
    return _REMEDIES.get(error.errno or 0, default)


_REMEDIES = {
    errno.ENOENT: "restore the folder, which is gone (is its disk mounted?)",
    errno.ESTALE: "mount the network file system again",
    errno.EROFS: "mount the file system for writing (after errors it becomes read-only, see dmesg)",
    errno.EACCES: "give this user write permission",
    errno.EPERM: "give this user write permission",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EDQUOT: "free some space: the quota is used up",
    errno.EISDIR: "give the name of a file",
    errno.EIO: "check the disk or the network file system (see dmesg)",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


@contextlib.contextmanager
def atomic_write(path: AnyPath, mode: str = "wb") -> Iterator[IO]:
    """Open a file that replaces `path` only when the block ends without an error.

    It is written under a temporary name in the same folder, synced and renamed: readers never see
    a partial file, and after a crash or on a full disk the old file remains. Raises InputError
    naming the file if it cannot be written.
    """
    target = Path(path)
    if not target.name:
        raise InputError(f"{os.fspath(path)!r}: is not a file name; give the name of a file")
    _remove_leftovers(target.parent)
    # Process and machine keep two commands that write the same file apart.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{_MACHINE}.tmp")
    # File names in the text may contain bytes that are not UTF-8; they are written unchanged.
    text = {} if "b" in mode else {"encoding": "utf-8", "errors": "surrogateescape"}
    try:
        with open(temporary, mode, **text) as file:  # type: ignore[call-overload]
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        sync_folder(target.parent)
    except OSError as error:
        raise file_error(target, error, f"{remedy(error)}, or choose another location") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_file(path: AnyPath, content: Union[str, bytes]) -> None:
    """Write a whole file, or with an error none, as `atomic_write` does."""
    with atomic_write(path, "w" if isinstance(content, str) else "wb") as file:
        file.write(content)


def write_json(path: AnyPath, content: Any) -> None:
    """Write JSON with indentation, as `write_file` does."""
    write_file(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: AnyPath, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write the names of columns and rows with `CsvWriter`, as `write_file` does."""
    with atomic_write(path, "w") as file:
        writer = CsvWriter(file)
        writer.writerow(columns)
        writer.writerows(rows)


def _machine() -> str:
    """Tells apart machines, and containers of one, which do not see each other's processes."""
    name = os.uname().nodename
    with contextlib.suppress(OSError):  # not on Linux
        name += os.readlink("/proc/self/ns/pid")
    return f"{zlib.crc32(name.encode()):08x}"


# NAME, process, machine; earlier versions wrote no machine.
_TEMPORARY = re.compile(r"\..+\.(\d+)(?:\.([0-9a-f]{8}))?\.tmp")
_MACHINE = _machine()
_DAY = 86400.0  # seconds
_cleared: Set[Path] = set()  # folders, by this process


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files whose writers were killed, at the first write into a folder.

    Those of this machine are removed if their process has ended. Processes of other machines that
    share the folder cannot be seen: their files are removed if they did not change for a day.
    """
    folder = folder.absolute()
    if folder in _cleared:
        return
    _cleared.add(folder)
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            match = _TEMPORARY.fullmatch(entry.name)
            if not match:
                continue
            with contextlib.suppress(OSError):
                is_old = time.time() - entry.stat().st_mtime > _DAY
                if _has_ended(int(match[1])) if match[2] == _MACHINE else is_old:
                    os.unlink(entry)


def _has_ended(process: int) -> bool:
    """Whether no process of this machine has this number."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # of another user
        return False
    return False


def sync_folder(folder: AnyPath) -> None:
    """Make renames in a folder durable, if the file system supports it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folder(path: AnyPath) -> Path:
    """Create a folder and its parents; raises InputError if that fails."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(folder, error, "choose another location") from error
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
        raise file_error(path, error) from error


def is_hidden(path: str) -> bool:
    """Whether a part of a path begins with a dot.

    Such files are no images of a dataset: .ipynb_checkpoints/1.jpg of Jupyter, ._1.jpg of macOS.
    """
    return any(part.startswith(".") for part in path.split("/"))


def walk(
    root: str, on_error: Optional[Callable[[OSError], None]] = None
) -> Iterator[Tuple[str, List[str]]]:
    """(folder, names of its files), sorted, without hidden ones; follows links, but no circles.

    `on_error` is called for a folder that cannot be read, which is passed by.
    """
    for folder, folders, names in os.walk(root, onerror=on_error, followlinks=True):
        here = os.path.join(os.path.realpath(folder), "")
        folders[:] = sorted(
            one for one in folders
            if not is_hidden(one)
            and not here.startswith(os.path.join(os.path.realpath(os.path.join(folder, one)), ""))
        )  # fmt: skip
        yield folder, sorted(one for one in names if not is_hidden(one))


def read_bytes(path: Path) -> bytes:
    """The content of a file; raises InputError naming the file if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise file_error(path, error) from error


def sha256(path: AnyPath) -> str:
    """Hexadecimal SHA-256 of a file, read in chunks of 4 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 22), b""):
            digest.update(chunk)
    return digest.hexdigest()
