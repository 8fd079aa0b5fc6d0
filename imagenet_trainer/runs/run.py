"""Every file of a run: its name and folder, which checkpoints there are, the newest of them."""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import history
from imagenet_trainer.runs.checkpoint import Checkpoint, CheckpointFiles, Preprocessing, Progress
from imagenet_trainer.system.files import atomic_write, make_folder, read_bytes

RUNS = "runs"
_SYMBOL = "-symbol.json"
# Parts of config.json and evaluation.json that are objects.
_SECTIONS = ("settings", "versions", "data", "about", "epochs", "sets")


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
        return self.folder / f"{self.name}{_SYMBOL}"

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
    def training_gif_path(self) -> Path:
        """The same as it was counted while the network was trained."""
        return self.folder / "confusion.fit.gif"

    def comparison_path(self, epoch: int, other: str) -> Path:
        """How an epoch compares with another, or with NAME-EPOCH of another run."""
        return self.folder / f"comparison-{epoch:04d}-{other}.json"

    def confusion_path(self, epoch: int, suffix: str, name: str = "") -> Path:
        """The matrix of one epoch: image (.png) or counts (.npz).

        `name` is that of the set of images, as in evaluation.json; none for the run's own.
        """
        return self.folder / f"confusion-{epoch:04d}{name and '-' + name}{suffix}"

    def predictions_path(self, epoch: int, name: str = "") -> Path:
        """What the network of one epoch said of each image of the set of that name."""
        return self.folder / f"predictions-{epoch:04d}{name and '-' + name}.npz"

    def probabilities_path(self, epoch: int, name: str = "") -> Path:
        """The probabilities of all classes for each image."""
        return self.folder / f"probabilities-{epoch:04d}{name and '-' + name}.npz"

    def classes_path(self, epoch: int, name: str = "") -> Path:
        """A row a class: recall, precision, top-5 recall, with intervals."""
        return self.folder / f"classes-{epoch:04d}{name and '-' + name}.csv"

    @property
    def measured_path(self) -> Path:
        """What `compare` measured: training's seconds and memory, speed of predictions."""
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
        if not self.epochs():
            self.refuse_misnamed()
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

    def refuse_misnamed(self) -> None:
        """InputError where the prefix names a folder or a file, with the one that is meant."""
        meant = self.meant()
        if meant:
            raise InputError(f"--model-prefix {self.prefix}: {meant}")

    def meant(self) -> str:
        """What is wrong with a prefix that names a folder or a file, and the way out; or ""."""
        named = re.fullmatch(r"(.+?)(-\d{4,}|-last)?\.(params|npz)", self.prefix)
        if named:
            return f"is a file's name; give its PREFIX: {named[1]}"
        folder = Path(self.prefix)
        if not folder.is_dir():
            return ""
        found = sorted(path.name[: -len(_SYMBOL)] for path in folder.glob(f"*{_SYMBOL}"))
        return f"is a folder; name the run in it too: {folder / (found or ['model'])[0]}"

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

    def _pair(self, epoch: Optional[int]) -> CheckpointFiles:
        return CheckpointFiles(self.params_path(epoch), self.state_path(epoch))

    def save(self, checkpoint: Checkpoint, epoch: Optional[int]) -> None:
        """Write a checkpoint of that number, or with None the newest inside an epoch."""
        self.refuse_other_folder()
        self._pair(epoch).write(checkpoint)

    def load(self, epoch: Optional[int]) -> Checkpoint:
        """Read a checkpoint; parameters without our .npz beside them have an empty state."""
        path = self.params_path(epoch)
        if not path.exists():
            found = self.epochs()
            there = "there are" if found[1:] else "there is"
            there += f" {_ranges(found)}" if found else " none"
            raise InputError(f"{path}: no such checkpoint; {there} in {self.folder}")
        return self._pair(epoch).read(epoch or 0)

    def preprocessing(self, epoch: int) -> Optional[Preprocessing]:
        """That of a checkpoint, without reading the rest; None where nobody knows."""
        return self._pair(epoch).preprocessing()

    def own_checkpoints(self) -> List[Optional[int]]:
        """The last epoch with all that training goes on from, and None for that inside an epoch."""
        epochs = [epoch for epoch in self.epochs() if self._pair(epoch).exists()]
        return [*epochs[-1:], *([None] if self._pair(None).exists() else [])]

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
        last = self._pair(None)
        if last.exists() and self.load(None).progress.age > progress.age:
            last.remove()

    def validations(self) -> Dict[int, Optional[Scores]]:
        """What our numbered checkpoints scored, by epoch; None where one does not say."""
        pairs = {epoch: self._pair(epoch) for epoch in self.epochs()}
        return {epoch: pair.validation() for epoch, pair in pairs.items() if pair.exists()}

    def remove(self, epoch: int) -> None:
        """Remove a numbered checkpoint of ours, and what a crash left of one removed before it."""
        whole = self.epochs()
        for number in self._numbers(".npz"):
            if number == epoch or (number < epoch and number not in whole):
                self._pair(number).remove()

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
            content = json.loads(read_bytes(path))
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
            self.refuse_misnamed()
            raise InputError(
                f"{self.symbol_path}: is not there; train first with "
                "python -m imagenet_trainer.fit, or name a run with --model-prefix"
            )
        data = read_bytes(self.symbol_path)
        try:
            json.loads(data)
            return data.decode()
        except ValueError as error:
            raise InputError(f"{self.symbol_path}: is damaged ({error}); copy it again") from error

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all rows anew; an absent value is an empty cell."""
        self.refuse_other_folder()
        history.write(self.history_path, rows)

    def read_history(self) -> List[Dict[str, str]]:
        """The rows, values as text; [] if there are none."""
        return history.read(self.history_path)


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


def _ranges(numbers: Sequence[int]) -> str:
    first, last = numbers[0], numbers[-1]
    if list(numbers) == list(range(first, last + 1)) and first != last:
        return f"epochs {first} to {last}"
    return f"epochs {', '.join(map(str, numbers))}" if len(numbers) > 1 else f"epoch {first}"
