"""Every file of a run: its name, how it is written whole, how it is read and checked.

A checkpoint is a pair: NAME.params (MXNet's format, parameters only) and NAME.npz (everything
else that the next update depends on). The .npz is put in place last and holds the SHA-256 of its
.params; a pair that does not agree is no checkpoint. Nothing is ever unpickled.
"""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer import params
from imagenet_trainer.errors import InputError
from imagenet_trainer.files import atomic_write, make_folder, refusal, remedy, sync_folder
from imagenet_trainer.metrics import Scores

Arrays = Dict[str, np.ndarray]
RUNS = "runs"
# Parts of config.json and evaluation.json that are objects.
_SECTIONS = ("settings", "versions", "data", "about", "epochs", "sets")
# Columns that every history.csv has; later versions added some, and may add more.
_FIRST_COLUMNS = (
    "epoch", "train_loss", "train_rank1", "train_rank5", "val_loss", "val_rank1", "val_rank5",
    "learning_rate", "images_per_second", "seconds", "wait_share",
)  # fmt: skip
HISTORY_COLUMNS = (
    *_FIRST_COLUMNS,
    "cpu_percent", "memory_mb", "gpu_percent", "gpu_memory_mb", "gpu_celsius", "gpu_watts",
)  # fmt: skip


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes this network's input; evaluation must do the same."""

    image_shape: Tuple[int, ...]  # channels, height, width
    rgb_mean: Tuple[float, ...]
    rgb_std: Tuple[float, ...]
    val_resize: int  # short side in pixels; 0: by the rule of --val-resize


@dataclass(frozen=True)
class Progress:
    """How far a run has come, and what the epoch under way has counted."""

    epoch: int = 0  # finished epochs
    update: int = 0  # updates made
    scores: Scores = field(default_factory=Scores)  # of the epoch under way
    seconds: float = 0.0  # likewise
    wait_seconds: float = 0.0  # of these, waiting for data
    rate_scale: float = 1.0  # what rollbacks have left of the learning rate
    rollbacks: int = 0  # how often numbers that were not finite took the run back

    @property
    def age(self) -> Tuple[int, int, int]:
        """Orders the checkpoints of a run as they were made: a rollback goes to fewer updates."""
        return self.rollbacks, self.update, self.epoch


@dataclass(frozen=True)
class Checkpoint:
    """Parameters, and all that is needed to go on from them or to use them."""

    arg: Arrays
    aux: Arrays
    progress: Progress
    state: Arrays = field(default_factory=dict)  # the engine's; empty: parameters only
    preprocessing: Optional[Preprocessing] = None  # None: not ours, nobody knows
    classes: Tuple[Tuple[str, str], ...] = ()  # (id, name) in the order of the outputs
    validation: Optional[Scores] = None  # None: inside an epoch, or not known


class Run:
    """The files of `--model-prefix FOLDER/NAME`.

    Raises InputError from every method for files that cannot be read, written or trusted.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.folder = Path(prefix).parent
        self.name = Path(prefix).name
        self._lock: Optional[int] = None

    # --- names ---------------------------------------------------------------------------------

    @property
    def symbol_path(self) -> Path:
        """The pure network, as MXNet writes it."""
        return self.folder / f"{self.name}-symbol.json"

    @property
    def config_path(self) -> Path:
        """Settings, versions, command line, data."""
        return self.folder / "config.json"

    @property
    def history_path(self) -> Path:
        """A row an epoch."""
        return self.folder / "history.csv"

    @property
    def log_path(self) -> Path:
        """What was said while it trained."""
        return self.folder / "log.txt"

    @property
    def events_path(self) -> Path:
        """What happened, one JSON line an event."""
        return self.folder / "events.jsonl"

    @property
    def tensorboard_path(self) -> Path:
        """The folder for TensorBoard."""
        return self.folder / "tensorboard"

    @property
    def curves_path(self) -> Path:
        """The learning curves."""
        return self.folder / "curves.png"

    @property
    def evaluation_path(self) -> Path:
        """All numbers of `evaluate`, by epoch."""
        return self.folder / "evaluation.json"

    def gif_path(self, name: str = "") -> Path:
        """The confusion matrix over the epochs, on the set of that name in evaluation.json."""
        return self.folder / f"confusion{name and '-' + name}.gif"

    @property
    def growing_gif_path(self) -> Path:
        """The same as it was counted while the network was trained."""
        return self.folder / "confusion.fit.gif"

    def comparison_path(self, epoch: int, other: str) -> Path:
        """How an epoch compares with another, or with NAME-EPOCH of another run."""
        return self.folder / f"comparison-{epoch:04d}-{other}.json"

    def confusion_path(self, epoch: int, suffix: str, name: str = "") -> Path:
        """The matrix of one epoch: picture (.png) or counts (.npz).

        `name` is that of the set of pictures, as in evaluation.json; none for the run's own.
        """
        return self.folder / f"confusion-{epoch:04d}{name and '-' + name}{suffix}"

    def answers_path(self, epoch: int, name: str = "") -> Path:
        """What the network of one epoch said of each picture of the set of that name."""
        return self.folder / f"answers-{epoch:04d}{name and '-' + name}.npz"

    def predictions_path(self, epoch: int, name: str = "") -> Path:
        """The probabilities of all classes for each picture."""
        return self.folder / f"predictions-{epoch:04d}{name and '-' + name}.npz"

    def classes_path(self, epoch: int, name: str = "") -> Path:
        """A row a class: recall, precision, top-5 recall, with intervals."""
        return self.folder / f"classes-{epoch:04d}{name and '-' + name}.csv"

    @property
    def measured_path(self) -> Path:
        """What `compare` measured: training's seconds and memory, speed of answers."""
        return self.folder / "compare.json"

    def rates_path(self, name: str) -> Path:
        """schedule.png of `fit --show-schedule`; lr-range.png, lr-range.csv of `--find-lr`."""
        return self.folder / name

    def params_path(self, epoch: Optional[int]) -> Path:
        """Parameters after that epoch; None: the newest inside an epoch."""
        return self.folder / f"{self._stem(epoch)}.params"

    def state_path(self, epoch: Optional[int]) -> Path:
        """Everything else of that checkpoint."""
        return self.folder / f"{self._stem(epoch)}.npz"

    def _stem(self, epoch: Optional[int]) -> str:
        return f"{self.name}-last" if epoch is None else f"{self.name}-{epoch:04d}"

    # --- the folder ----------------------------------------------------------------------------

    def open_for_training(self) -> None:
        """Create the folder and keep other trainers out until this process ends."""
        make_folder(self.folder)
        if not os.access(self.folder, os.W_OK):
            raise InputError(
                f"{self.folder}: is read-only; choose another place with --model-prefix"
            )
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.folder}: another process is training this run; wait for it, or choose "
                "another --model-prefix"
            ) from None
        except OSError:
            pass  # some network file systems have no locks

        others = self._others()
        if others:
            raise InputError(
                f"{self.folder}: holds the run {others[0]}; a folder holds one run, so choose "
                f"another --model-prefix, such as {self.folder / self.name / 'model'}"
            )

    def _others(self) -> List[str]:
        """Names of other runs of ours in this folder: they would share history and settings."""
        matches = (
            re.fullmatch(r"(.+)-(\d{4,}|last)", path.stem) for path in self.folder.glob("*.npz")
        )
        names = {
            match[1] for match in matches if match and (self.folder / f"{match[0]}.params").exists()
        }
        return sorted(names - {self.name})

    def refuse_other_folder(self) -> None:
        """InputError if the folder was removed under the run and there is another one now."""
        if self._lock is None:
            return
        try:
            held, there = os.fstat(self._lock), os.stat(self.folder)
        except OSError:
            return  # gone, or a network file system that is away: writing will tell
        if held.st_nlink == 0 or held.st_ino != there.st_ino:
            raise InputError(
                f"{self.folder}: was removed while this run was training, and another folder has "
                "its name now; nothing is written into it"
            )

    def close(self) -> None:
        """Let other trainers in again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def epochs(self) -> List[int]:
        """Epochs with parameters, ascending (ours and those of other MXNet programs)."""
        return self._numbers(".params")

    def _numbers(self, suffix: str) -> List[int]:
        pattern = re.compile(re.escape(f"{self.name}-") + r"(\d{4,})" + re.escape(suffix))
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        matches = (pattern.fullmatch(name) for name in names)
        return sorted(int(match.group(1)) for match in matches if match)

    # --- checkpoints ---------------------------------------------------------------------------

    def save(self, checkpoint: Checkpoint, epoch: Optional[int]) -> None:
        """Write a checkpoint of that number, or with None the newest inside an epoch.

        Both files are complete on the disk before the first takes its name; a crash between the
        two renames is mended by `load`.
        """
        assert checkpoint.preprocessing is not None
        self.refuse_other_folder()
        data = params.dumps(params.join(checkpoint.arg, checkpoint.aux))
        about = {
            "params_sha256": hashlib.sha256(data).hexdigest(),
            "progress": asdict(checkpoint.progress),
            "preprocessing": asdict(checkpoint.preprocessing),
            "classes": checkpoint.classes,
            "validation": checkpoint.validation and asdict(checkpoint.validation),
        }
        arrays = {f"state/{key}": value for key, value in checkpoint.state.items()}
        packed = io.BytesIO()
        np.savez(packed, about=np.array(json.dumps(about)), **arrays)
        params_new, state_new = (
            self._new(self.params_path(epoch)),
            self._new(self.state_path(epoch)),
        )
        try:
            for path, content in ((params_new, data), (state_new, packed.getbuffer())):
                with open(path, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(params_new, self.params_path(epoch))
            os.replace(state_new, self.state_path(epoch))
            sync_folder(self.folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                if params_new.exists():  # after the first rename `load` needs the second file
                    for path in (params_new, state_new):
                        path.unlink(missing_ok=True)
            kept = "" if error.errno == errno.ENOENT else "the older checkpoints are untouched; "
            raise refusal(
                self.params_path(epoch), error,
                f"{kept}{remedy(error)} and run the same command again",
            ) from error  # fmt: skip

    def load(self, epoch: Optional[int]) -> Checkpoint:
        """Read a checkpoint; parameters without our .npz beside them have an empty state."""
        path, state_path = self.params_path(epoch), self.state_path(epoch)
        if not path.exists():
            found = self.epochs()
            there = "there are" if found[1:] else "there is"
            there += f" {_ranges(found)}" if found else " none"
            raise InputError(f"{path}: no such checkpoint; {there} in {self.folder}")
        data = _read(path)
        arg, aux = params.split(params.loads(data, path), path)
        digest = hashlib.sha256(data).hexdigest()
        for candidate in (state_path, self._new(state_path)):
            about, state = _read_state(candidate) if candidate.exists() else (None, {})
            if about and about["params_sha256"] == digest:
                if candidate != state_path:
                    os.replace(candidate, state_path)  # the second rename that a crash prevented
                return _checkpoint(arg, aux, about, state)
        if state_path.exists():
            raise InputError(
                f"{path}: is not what {state_path.name} was written with; "
                "remove both and continue from an older epoch with --load-epoch"
            )
        return Checkpoint(arg, aux, Progress(epoch=epoch or 0))

    def preprocessing(self, epoch: int) -> Optional[Preprocessing]:
        """That of a checkpoint, without reading the rest; None where nobody knows."""
        path = self.state_path(epoch)
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                return _preprocessing(json.loads(str(file["about"])))
        except Exception as error:  # zipfile, zlib, NumPy and JSON have each their own for damage
            raise InputError(f"{path}: is damaged ({error}); remove it and its .params") from error

    def own_checkpoints(self) -> List[Optional[int]]:
        """The last epoch with all that training goes on from, and None for that inside an epoch."""
        epochs = [epoch for epoch in self.epochs() if self._has_state(epoch)]
        return [*epochs[-1:], *([None] if self._has_state(None) else [])]

    def newest(self) -> Optional[Checkpoint]:
        """The checkpoint that was made last; None in a fresh folder.

        Raises InputError if all parameters in the folder are another program's.
        """
        candidates = self.own_checkpoints()
        if not candidates and self.epochs():
            raise InputError(
                f"{self.folder}: holds checkpoints of another program; --load-epoch "
                f"{self.epochs()[-1]} continues from them, another --model-prefix starts afresh"
            )
        loaded = [self.load(epoch) for epoch in candidates]
        return max(loaded, key=lambda one: one.progress.age, default=None)

    def go_back_to(self, epoch: int) -> Checkpoint:
        """Load that epoch as the newest one; refuse while later ones would be mixed with it."""
        later = [number for number in self.epochs() if number > epoch]
        if later:
            raise InputError(
                f"--load-epoch {epoch}: {self.folder} goes on to {_ranges(later)}; move those "
                "files away first, or leave the flag away to continue from the newest"
            )
        return self.load(epoch)

    def forget_last_beyond(self, progress: Progress) -> None:
        """Remove the checkpoint inside an epoch if a run that went back would find it newer."""
        if self._has_state(None) and self.load(None).progress.age > progress.age:
            for path in (self.state_path(None), self.params_path(None)):
                path.unlink(missing_ok=True)

    def validations(self) -> Dict[int, Optional[Scores]]:
        """What our numbered checkpoints scored, by epoch; None where one does not say."""
        found: Dict[int, Optional[Scores]] = {}
        for epoch in self.epochs():
            if self._has_state(epoch):
                found[epoch] = _validation(self.state_path(epoch))
        return found

    def remove(self, epoch: int) -> None:
        """Remove a numbered checkpoint of ours, and what a crash left of one removed before it."""
        whole = self.epochs()
        for number in self._numbers(".npz"):
            if number == epoch or (number < epoch and number not in whole):
                # The parameters first: without their .npz they would look like another program's.
                self.params_path(number).unlink(missing_ok=True)
                self.state_path(number).unlink(missing_ok=True)

    def _has_state(self, epoch: Optional[int]) -> bool:
        path = self.state_path(epoch)
        both = self._new(path).exists() or path.exists()  # the first after a crash in `save`
        return both and self.params_path(epoch).exists()

    @staticmethod
    def _new(path: Path) -> Path:
        return path.with_name(path.name + ".new")

    # --- settings, symbol, history, evaluation -------------------------------------------------

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write config.json or evaluation.json."""
        with atomic_write(path, "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")

    def read_json(self, path: Path) -> Dict[str, Any]:
        """Read it; {} if it is not there."""
        if not path.exists():
            return {}
        try:
            content = json.loads(_read(path))
        except ValueError as error:
            raise InputError(f"{path}: is damaged ({error}); remove it") from error
        if not isinstance(content, dict) or not all(
            isinstance(content.get(name, {}), dict) for name in _SECTIONS
        ):
            raise InputError(f"{path}: is not a file of this program; remove it")
        return content

    def write_symbol(self, text: str) -> None:
        """Write the network's JSON."""
        with atomic_write(self.symbol_path, "w") as file:
            file.write(text)

    def read_symbol(self) -> str:
        """The network's JSON."""
        if not self.symbol_path.exists():
            raise InputError(
                f"{self.symbol_path}: is not there; train first with "
                "python -m imagenet_trainer.fit, or name a run with --model-prefix"
            )
        data = _read(self.symbol_path)
        try:
            json.loads(data)
            return data.decode()
        except ValueError as error:
            raise InputError(f"{self.symbol_path}: is damaged ({error}); copy it again") from error

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all rows anew; an absent value is an empty cell."""
        self.refuse_other_folder()
        with atomic_write(self.history_path, "w") as file:
            writer = csv.DictWriter(file, HISTORY_COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def read_history(self) -> List[Dict[str, str]]:
        """The rows, values as text; [] if there are none.

        A file of an older version has fewer columns; the missing ones stay empty.
        """
        if not self.history_path.exists():
            return []
        text = _read(self.history_path).decode("utf-8", "replace")
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error:
            rows = [{}]
        if all(set(_FIRST_COLUMNS) <= set(row) <= set(HISTORY_COLUMNS)
               and row["epoch"].isdigit() for row in rows):  # fmt: skip
            return rows
        raise InputError(
            f"{self.history_path}: is damaged or another program's; move it away to begin anew"
        )


def _checkpoint(arg: Arrays, aux: Arrays, about: Dict[str, Any], state: Arrays) -> Checkpoint:
    progress = dict(about["progress"], scores=Scores(**about["progress"]["scores"]))
    classes = tuple((name, words) for name, words in about["classes"])
    return Checkpoint(
        arg, aux, Progress(**progress), state, _preprocessing(about), classes, _scores(about)
    )


def _preprocessing(about: Dict[str, Any]) -> Preprocessing:
    return Preprocessing(**{key: _tuple(value) for key, value in about["preprocessing"].items()})


def _scores(about: Dict[str, Any]) -> Optional[Scores]:
    validation = about.get("validation")
    return Scores(**validation) if validation else None


def _validation(path: Path) -> Optional[Scores]:
    """The scores in an .npz, without reading the rest of it; None if it does not tell."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return _scores(json.loads(str(file["about"])))
    except Exception:  # zipfile, zlib and NumPy have each their own for damage
        return None


def run_of(prefix: Optional[str], network: str) -> Run:
    """The run of --model-prefix, or without it that of a network below runs/."""
    return Run(prefix or f"{RUNS}/{network}/model")


def newest_run(folder: str = RUNS) -> Run:
    """The run below a folder whose parameters changed last; InputError when there is none."""
    found = sorted(
        Path(folder).glob("*/*-[0-9][0-9][0-9][0-9]*.params"), key=lambda path: path.stat().st_mtime
    )
    if not found:
        raise InputError(
            f"{folder}/: no trained network in it; run python -m imagenet_trainer.fit first, "
            "or name a run with --model-prefix"
        )
    return Run(str(found[-1].parent / found[-1].name.rpartition("-")[0]))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise refusal(path, error) from error


def _read_state(path: Path) -> Tuple[Optional[Dict[str, Any]], Arrays]:
    """The description and the engine's state in an .npz; (None, {}) of a half-written .new."""
    try:
        arrays = read_arrays(path)
        about = json.loads(str(arrays["about"]))
        about["params_sha256"]
        state = {key[6:]: value for key, value in arrays.items() if key.startswith("state/")}
        return about, state
    except (ValueError, KeyError, TypeError) as error:
        if path.suffix == ".new":
            return None, {}
        raise InputError(
            f"{path}: is damaged ({error}); remove it and its .params and continue from an older "
            "epoch with --load-epoch"
        ) from error


def read_arrays(path: Path) -> Arrays:
    """All arrays of an .npz; ValueError when it is damaged, no .npz, or holds pickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zipfile, zlib and NumPy have each their own for damage
        raise ValueError(str(error)) from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _ranges(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if list(numbers) == list(range(first, last + 1)) and first != last:
        return f"epochs {first} to {last}"
    return f"epochs {', '.join(map(str, numbers))}" if len(numbers) > 1 else f"epoch {first}"
