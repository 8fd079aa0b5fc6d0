"""A checkpoint in SageMaker's model.tar.gz, read in memory.

The archive holds NAME-symbol.json, NAME-0010.params and model-shapes.json (`[{"name": "data",
"shape": [1, 3, 224, 224]}]`), as SageMaker's image classification and MXNet containers write them.
Nothing is written to a disk, and nothing but these files is used.
"""

import contextlib
import gzip
import hashlib
import json
import posixpath
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, cast

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.files import SYMBOL
from imagenet_trainer.runs.run import Run, json_text
from imagenet_trainer.system.files import file_error

_SHAPES = "model-shapes.json"
_FILE = re.compile(r"(.+?)(?:-symbol\.json|-(\d{4,9})\.params)")
_MOST_BYTES = 4 << 30  # of all files, unpacked; ResNet-269 has 0.4 GB
_MOST_TEXT = 64 << 20  # of a symbol
_MOST_FILES = 1000
_CHUNK = 1 << 20  # bytes that are read at once


class ArchivedRun(Run):
    """The network in an archive, wherever a run is read; results are written beside the archive.

    Raises InputError if the archive is damaged, or has links, paths that lead out of it, sizes
    beyond the limits, or not exactly one network.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._texts, self._params = _content(path)
        names = {_FILE.fullmatch(name)[1] for name in self._networks()}  # type: ignore[index]
        if len(names) != 1:
            raise InputError(
                f"{path}: has {len(names) or 'no'} networks; an archive with one NAME-symbol.json "
                "and NAME-0010.params is needed"
            )
        self.name = posixpath.basename(names.pop())
        self._digests: Dict[int, str] = {}
        # Names below that of the archive; it has only the symbol.
        self.symbol_path = self._inside(f"{self.name}{SYMBOL}")
        self.config_path = self._inside("config.json")
        self.history_path = self._inside("history.csv")

    def _networks(self) -> List[str]:
        return [name for name in [*self._texts, *self._params.values()] if _FILE.fullmatch(name)]

    def _inside(self, name: str) -> Path:
        return Path(self.prefix, name)

    def params_path(self, epoch: Optional[int]) -> Path:
        """Name of the parameters, below that of the archive."""
        return self._inside(super().params_path(epoch).name)

    def state_path(self, epoch: Optional[int]) -> Path:
        """There is none."""
        return self._inside(super().state_path(epoch).name)

    def epochs(self) -> List[int]:
        """Epochs with parameters, ascending."""
        return sorted(self._params)

    def empty_files(self) -> List[str]:
        """None: an empty file is damage."""
        return []

    def shares_folder(self) -> bool:
        """Results are always in a folder of their own: another run may be beside the archive."""
        return True

    def selection(self) -> Dict[int, Optional[Scores]]:
        """The scores are unknown."""
        return {}

    def preprocessing(self, epoch: int) -> Optional[Preprocessing]:
        """It is unknown."""
        return None

    def image_shape(self) -> Optional[Tuple[int, int, int]]:
        """Channels, height and width of model-shapes.json; None without it."""
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            found = json.loads(self._texts[_SHAPES])[-1]["shape"]
            if len(found) == 4 and found[1] == 3 and all(type(n) is int and n > 0 for n in found):
                return 3, found[2], found[3]
        return None

    def has_symbol(self) -> bool:
        """Whether the archive has a symbol."""
        return any(name.endswith(SYMBOL) for name in self._texts)

    def read_symbol(self) -> str:
        """The network's JSON."""
        if not self.has_symbol():
            raise InputError(f"{self.symbol_path}: is not in the archive; give a complete one")
        text = next(text for name, text in self._texts.items() if name.endswith(SYMBOL))
        return json_text(text, self.symbol_path)

    def params_sha256(self, epoch: int) -> str:
        """SHA-256 of the parameters of an epoch, hexadecimal."""
        if epoch not in self._digests:
            self.load(epoch)
        return self._digests[epoch]

    def load(self, epoch: Optional[int]) -> Checkpoint:
        """Read a checkpoint, whose preprocessing and classes are unknown."""
        path = self.params_path(epoch)
        if epoch not in self._params:
            there = ", ".join(map(str, self.epochs())) or "none"
            raise InputError(f"{path}: no such checkpoint; the archive has epoch {there}")
        data = _read_file(self.prefix, self._params[epoch])
        self._digests[epoch] = hashlib.sha256(data).hexdigest()
        arg, aux = params.split(params.loads(data, path), path)
        return Checkpoint(arg, aux, Progress(epoch=epoch))


def _content(path: str) -> Tuple[Dict[str, bytes], Dict[int, str]]:
    """The texts that are used by name, and the names of parameters by epoch."""
    texts: Dict[str, bytes] = {}
    epochs: Dict[int, str] = {}
    for member, file in _members(path):
        match = _FILE.fullmatch(member.name)
        if match and match[2]:
            epochs[int(match[2])] = member.name
        elif match or posixpath.basename(member.name) == _SHAPES:
            if member.size > _MOST_TEXT:
                raise InputError(f"{path}: {member.name} has {member.size:,} bytes, too many")
            texts[member.name if match else _SHAPES] = _read(file, member.size)
    return texts, epochs


def _read_file(path: str, name: str) -> bytes:
    for member, file in _members(path):
        if member.name == name:
            return _read(file, member.size)
    raise InputError(f"{path}: has changed while it was read; run the command again")


def _members(path: str) -> Iterator[Tuple[tarfile.TarInfo, "_Stream"]]:
    """The files of an archive, each with the stream at its beginning; InputError as above."""
    total = 0
    try:
        with gzip.open(path) as unpacked:
            stream = _Stream(unpacked, path)
            with tarfile.open(fileobj=cast(Any, stream), mode="r:", encoding="utf-8") as tar:
                for number, member in enumerate(tar):
                    member.name = _checked_name(path, member)
                    total += member.size
                    if total > _MOST_BYTES or number >= _MOST_FILES:
                        raise InputError(
                            f"{path}: holds more than {_MOST_BYTES >> 30} GiB or {_MOST_FILES:,} "
                            "files; give the archive of one network"
                        )
                    if member.isreg():
                        stream.seek(member.offset_data)
                        yield member, stream
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise _damaged(path, error) from error
        raise file_error(path, error) from error
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> InputError:
    return InputError(f"{path}: is no .tar.gz, or damaged or cut short ({error}); copy it again")


def _checked_name(path: str, member: tarfile.TarInfo) -> str:
    name = posixpath.normpath(member.name)
    if name.startswith("/") or name.split("/")[0] == "..":
        raise InputError(f"{path}: {member.name} leads out of it; give an archive of a network")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise InputError(f"{path}: {name} is a link or no file; give an archive of a network")
    return name


class _Stream:
    """An unpacked archive as tarfile reads it; no single read may be large.

    A few bytes can declare a header of any length, which tarfile would read into memory.
    """

    def __init__(self, file: gzip.GzipFile, path: str):
        self._file, self._path = file, path

    def read(self, size: int) -> bytes:
        """The next bytes, at most 1 MiB."""
        if not 0 <= size <= _CHUNK:
            raise InputError(f"{self._path}: a header of {size:,} bytes; it is no such archive")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        """Go to a position."""
        if position > 2 * _MOST_BYTES:
            raise InputError(f"{self._path}: is larger than {_MOST_BYTES >> 30} GiB")
        return self._file.seek(position)

    def tell(self) -> int:
        """The position."""
        return self._file.tell()


def _read(file: _Stream, size: int) -> bytes:
    parts: List[bytes] = []
    while size:
        part = file.read(min(size, _CHUNK))
        if not part:
            raise EOFError("the file ends early")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
