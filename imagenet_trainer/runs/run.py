"""A run on disk: its lock, its checkpoints, the newest of them, its texts."""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer.config import commands
from imagenet_trainer.data.parts import Parts
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import history
from imagenet_trainer.runs.checkpoint import (
    Checkpoint,
    CheckpointFiles,
    Preprocessing,
    Progress,
    has_content,
)
from imagenet_trainer.runs.files import SYMBOL, RunFiles, is_archive
from imagenet_trainer.system.files import make_folder, read_bytes, sha256, write_file
from imagenet_trainer.system.shape import NUMBER, check

RUNS = "runs"
_CHECKPOINT = re.compile(r"(.+)-(\d{4,}|last)\.(params|npz)")  # name, epoch, kind
# What is read of config.json, evaluation.json and compare.json before their own shapes are checked.
_SHAPE = {
    **{f"{name}?": dict for name in ("versions", "about", "epochs", "sets")},
    "engine?": str,
    "settings?": {
        "network?": str, "num_layers?": int, "data_train?": str, "data_val?": str,
        "data_train_idx?": str, "data_val_idx?": str, "load_epoch?": int,
        "train_fraction?": NUMBER, "seed?": int, "folds?": int, "fold?": int, "minival?": NUMBER,
        "label_index?": int,
        "multi_label?": bool,
    },
    "data?": {"train?": str, "val?": str, "train_images?": int},
}  # fmt: skip


class Run(RunFiles):
    """The run of `--model-prefix FOLDER/NAME` on disk.

    Every method raises InputError for files that cannot be read or written, or are damaged.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self._lock: Optional[int] = None

    # --- the folder ----------------------------------------------------------------------------

    def open_for_training(self) -> None:
        """Create the folder and lock it against other trainings until this process ends."""
        if not self.epochs():
            self.refuse_misnamed()
        make_folder(self.folder)
        if not os.access(self.folder, os.W_OK):
            raise InputError(f"{self.folder}: is read-only; {commands.OTHER_PREFIX}")
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.folder}: another process is training this run; wait for it, or "
                f"{commands.OTHER_PREFIX}{_started_alone()}"
            ) from None
        except OSError:
            pass  # some network file systems do not support locks

        others = self._others()
        if others:
            raise InputError(
                f"{self.folder}: already holds the run {others[0]}; a folder holds one run; "
                f"{commands.OTHER_PREFIX}, such as {self.folder / self.name / 'model'}"
            )

    def refuse_misnamed(self) -> None:
        """InputError where the prefix names a folder or a file instead of a run."""
        misnamed = self.misnamed()
        if misnamed:
            raise ArgumentError("model_prefix", self.prefix, misnamed)

    def misnamed(self) -> str:
        """What is wrong with a prefix that names a folder or a file, and the way out, or ""."""
        file = re.fullmatch(r"(.+?)(-\d{4,}|-last)?\.(params|npz|safetensors)", self.prefix)
        if file and not file[2] and file[3] != "npz" and os.path.isfile(self.prefix):
            return f"is a file of parameters; {commands.read_parameters(self.prefix)}"
        if file:
            return f"is the name of a file; give the PREFIX of the run: {file[1]}"
        folder = Path(self.prefix)
        if is_archive(self.prefix):
            return f"is an archive; start from its network with --pretrained {self.prefix},EPOCH"
        if not folder.is_dir() and not self.prefix.endswith("/"):
            return ""
        found = sorted(path.name[: -len(SYMBOL)] for path in folder.glob(f"*{SYMBOL}"))
        return f"is a folder; add the name of the run: {folder / (found or ['model'])[0]}"

    def _others(self) -> List[str]:
        """Names of other runs in this folder; they would share history and settings."""
        paths = [p for p in self.folder.glob("*.npz") if p.with_suffix(".params").exists()]
        matches = (_CHECKPOINT.fullmatch(path.name) for path in paths)
        return sorted({match[1] for match in matches if match} - {self.name})

    def shares_folder(self) -> bool:
        """Whether the folder has checkpoints of other networks, as a model zoo has."""
        found = (_CHECKPOINT.fullmatch(path.name) for path in self.folder.glob("*-*[0-9].params"))
        return any(match and match[1] != self.name for match in found)

    def refuse_other_folder(self) -> None:
        """InputError if the folder was removed during the training and another one replaced it."""
        if self._lock is None:
            return
        try:
            held, there = os.fstat(self._lock), os.stat(self.folder)
        except OSError:
            return  # removed, or on an unavailable network file system: writing fails
        if held.st_nlink == 0 or held.st_ino != there.st_ino:
            raise InputError(
                f"{self.folder}: was removed during the training and another folder has its name; "
                "nothing is written into it"
            )

    def close(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def epochs(self) -> List[int]:
        """Epochs with parameters, ascending, also those of other MXNet programs; no empty files."""
        return self._numbers(".params")

    def _numbers(self, suffix: str) -> List[int]:
        pattern = re.compile(re.escape(f"{self.name}-") + r"(\d{4,})" + re.escape(suffix))
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        matches = (pattern.fullmatch(name) for name in names)
        return sorted(
            int(match[1]) for match in matches if match and has_content(self.folder / match[0])
        )

    def empty_files(self) -> List[str]:
        """Names of checkpoint files without content: they are passed over."""
        matches = (_CHECKPOINT.fullmatch(path.name) for path in sorted(self.folder.glob("*")))
        names = [match[0] for match in matches if match and match[1] == self.name]
        return [name for name in names if not has_content(self.folder / name)]

    # --- checkpoints ---------------------------------------------------------------------------

    def _pair(self, epoch: Optional[int]) -> CheckpointFiles:
        return CheckpointFiles(self.params_path(epoch), self.state_path(epoch))

    def save(self, checkpoint: Checkpoint, epoch: Optional[int]) -> str:
        """Write the checkpoint of an epoch, or with None the newest one inside an epoch.

        Returns the SHA-256 of its .params.
        """
        self.refuse_other_folder()
        return self._pair(epoch).write(checkpoint)

    def load(self, epoch: Optional[int]) -> Checkpoint:
        """Read a checkpoint. Parameters without an .npz beside them have an empty state."""
        path = self.params_path(epoch)
        if not path.exists():
            found = self.epochs()
            there = f"has {_ranges(found)}" if found else "has none; check the path"
            raise InputError(f"{path}: no such checkpoint; {self.folder} {there}")
        return self._pair(epoch).read(epoch or 0)

    def preprocessing(self, epoch: int) -> Optional[Preprocessing]:
        """The preprocessing of a checkpoint, without reading the rest; None where it is unknown."""
        return self._pair(epoch).preprocessing()

    def own_checkpoints(self) -> List[Optional[int]]:
        """Checkpoints that training can continue from: the last epoch, and None inside an epoch."""
        epochs = [epoch for epoch in self.epochs() if self._pair(epoch).exists()]
        return [*epochs[-1:], *([None] if self._pair(None).exists() else [])]

    def newest(self) -> Optional[Checkpoint]:
        """The checkpoint that was written last; None in a new folder.

        Raises InputError if all parameters in the folder are those of another program.
        """
        candidates = self.own_checkpoints()
        if not candidates and self.epochs():
            raise InputError(
                f"{self.folder}: holds checkpoints of another program; "
                f"{commands.load_epoch(self.epochs()[-1])}, or {commands.OTHER_PREFIX}"
            )
        loaded = [self.load(epoch) for epoch in candidates]
        return max(loaded, key=lambda one: one.progress.age, default=None)

    def progress(self) -> Optional[Progress]:
        """How far the newest checkpoint has come, without reading the rest; None without one."""
        found = [self._pair(epoch).progress() for epoch in self.own_checkpoints()]
        return max(filter(None, found), key=lambda one: one.age, default=None)

    def go_back_to(self, epoch: int) -> Checkpoint:
        """Load that epoch as the newest one; InputError if there are later ones."""
        later = [number for number in self.epochs() if number > epoch]
        if later:
            raise ArgumentError(
                "load_epoch",
                epoch,
                f"{self.folder} also has {_ranges(later)}; move their files away, or omit the flag "
                "to continue from the newest",
            )
        return self.load(epoch)

    def forget_last_beyond(self, progress: Progress) -> None:
        """Remove the checkpoint inside an epoch if it is newer than this progress."""
        last = self._pair(None)
        if last.exists() and self.load(None).progress.age > progress.age:
            last.remove()

    def selection(self) -> Dict[int, Optional[Scores]]:
        """The scores that select the best epoch, of the checkpoints by epoch; None: unknown."""
        pairs = {epoch: self._pair(epoch) for epoch in self.epochs()}
        return {epoch: pair.selection() for epoch, pair in pairs.items() if pair.exists()}

    def remove(self, epoch: int) -> None:
        """Remove the checkpoint of an epoch, and what a crash left of removed earlier ones."""
        complete = self.epochs()
        for number in self._numbers(".npz"):
            if number == epoch or (number < epoch and number not in complete):
                self._pair(number).remove()
                self.temperature_path(number).unlink(missing_ok=True)

    # --- settings, symbol, history, evaluation -------------------------------------------------

    def read_json(self, path: Path, shape: Any = _SHAPE) -> Dict[str, Any]:
        """Read config.json or evaluation.json; {} if the file does not exist.

        `shape` is that of the content, see `system.shape`.
        """
        if not path.exists():
            return {}
        try:
            content = json.loads(read_bytes(path))
        except ValueError as error:
            raise InputError(f"{path}: is damaged ({error}); remove it") from error
        try:
            check(content, shape)
        except ValueError as error:
            raise InputError(
                f"{path}: was not written by this program ({error}); remove it"
            ) from error
        return content

    def settings(self) -> Dict[str, Any]:
        """The settings of the training; {} where they are unknown."""
        return self.read_json(self.config_path).get("settings") or {}

    def shard(self, kind: str) -> Tuple[str, str]:
        """The shard and index, `train` or `val`, of the flags of the training, or the defaults."""
        used = self.settings()
        found = used.get(f"data_{kind}", f"data/{kind}.rec"), used.get(f"data_{kind}_idx", "")
        if None in found:
            raise InputError(f"{self.config_path}: was not written by this program; remove it")
        return found

    def validation_shard(self) -> Tuple[str, str]:
        """The shard and index of the validation images; with --folds the fold's name."""
        parts = parts_in(self.settings())
        path, index = self.shard("train" if parts.folds else "val")
        return parts.name(path) if parts.folds else path, index

    def minival_shard(self) -> Tuple[str, str]:
        """The name of the images of --minival, and the index; two empty texts without the flag."""
        parts = parts_in(self.settings())
        path, index = self.shard("train") if parts.minival else ("", "")
        return path and parts.name(path, minival=True), index

    def label_index(self, wanted: Optional[int] = None) -> Optional[int]:
        """Which label of a record is the class: the wanted one, or that of the training.

        None: the only one.
        """
        return self.settings().get("label_index") if wanted is None else wanted

    def multi_label(self) -> bool:
        """Whether all labels of a record were classes of its image in the training."""
        return bool(self.settings().get("multi_label", False))

    def write_symbol(self, text: str) -> None:
        """Write the network's JSON."""
        write_file(self.symbol_path, text)

    def has_symbol(self) -> bool:
        """Whether the network's JSON is there."""
        return self.symbol_path.exists()

    def params_sha256(self, epoch: int) -> str:
        """SHA-256 of the parameters of an epoch, hexadecimal."""
        return sha256(self.params_path(epoch))

    def image_shape(self) -> Optional[Tuple[int, int, int]]:
        """Channels, height and width, where a file beside the parameters has them; else None."""
        return None

    def read_symbol(self) -> str:
        """The network's JSON."""
        if not self.symbol_path.exists():
            self.refuse_misnamed()
            epochs = self.epochs()
            if epochs:
                path = self.params_path(epochs[-1])
                raise InputError(
                    f"{self.symbol_path}: does not exist, and {path.name} has no network; put the "
                    "network there, which Gluon writes with net.export, or "
                    f"{commands.read_parameters(str(path))}"
                )
            raise InputError(f"{self.symbol_path}: does not exist; {commands.TRAIN_FIRST}")
        return json_text(read_bytes(self.symbol_path), self.symbol_path)

    def write_history(self, rows: Sequence[Mapping[str, Any]], as_parquet: bool = False) -> None:
        """Write all rows, also as Parquet if wanted; a missing value is an empty cell."""
        self.refuse_other_folder()
        history.write(self.history_path, rows)
        if as_parquet:
            history.write_parquet(self.history_parquet_path, rows)

    def read_history(self) -> List[Dict[str, str]]:
        """All rows, values as text; [] if there are none."""
        return history.read(self.history_path)


def json_text(data: bytes, path: Path) -> str:
    """The bytes of a JSON file as text; InputError with its path if they are none."""
    try:
        json.loads(data)
        return data.decode()
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); copy it again") from error


def parts_in(settings: Mapping[str, Any]) -> Parts:
    """The parts of the training set that a run's settings in config.json hold back."""
    names = ("seed", "folds", "fold", "minival")
    return Parts(**{name: settings[name] for name in names if settings.get(name)})


def _started_alone() -> str:
    """A hint if mpirun or srun started this process beside others, which it does not know."""
    counts = (os.environ.get(name, "") for name in ("OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    count = next((int(text) for text in counts if text.isdecimal()), 1)
    return f"; {count} processes train together with {commands.launch(count)}" if count > 1 else ""


def run_of(prefix: Optional[str], network: str) -> Run:
    """The run of a prefix, by default the one of a network below runs/."""
    return Run(prefix or f"{RUNS}/{network}/model")


def _ranges(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if list(numbers) == list(range(first, last + 1)) and first != last:
        return f"epochs {first} to {last}"
    return f"epochs {', '.join(map(str, numbers))}" if len(numbers) > 1 else f"epoch {first}"
