"""Checkpoints and their two files.

NAME.params holds the parameters in MXNet's format, NAME.npz everything else that the next update
depends on. The .npz is renamed into place last and holds the SHA-256 of its .params; files that do
not match are not a checkpoint. Nothing is ever unpickled.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np

from imagenet_trainer.config import commands
from imagenet_trainer.config.values import INTERPOLATIONS
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import params
from imagenet_trainer.system.arrays import DAMAGED, Arrays, packed
from imagenet_trainer.system.files import file_error, read_bytes, remedy, sync_folder
from imagenet_trainer.system.shape import NUMBER, check
from imagenet_trainer.text import printable


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a network, in training, evaluation and prediction alike."""

    image_shape: Tuple[int, ...]  # channels, height, width
    rgb_mean: Tuple[float, ...]
    rgb_std: Tuple[float, ...]
    val_resize: int  # short side in pixels; 0: the default rule of --val-resize
    bgr: bool = False  # the network takes blue, green, red; mean and std stay red, green, blue
    val_interp: str = INTERPOLATIONS[0]  # of the resize: one of config.values.INTERPOLATIONS

    def __post_init__(self) -> None:
        if self.val_interp not in INTERPOLATIONS:
            raise TypeError(f"val_interp {self.val_interp!r} is unknown")

    @property
    def geometry(self) -> Tuple[Tuple[int, ...], int, str]:
        """What decides the pixels of an evaluated image: the arguments of `EvalTransform`."""
        return self.image_shape, self.val_resize, self.val_interp

    @property
    def colours(self) -> Tuple[Tuple[float, ...], Tuple[float, ...], bool]:
        """How pixels are normalised: mean and std of red, green, blue, and `bgr`."""
        return self.rgb_mean, self.rgb_std, self.bgr

    def as_dict(self) -> Dict[str, Any]:
        """The fields by name as JSON has them; `val_interp` only where it is not the default.

        So versions that do not have it read the files.
        """
        values = {key: [*one] if isinstance(one, tuple) else one for key, one in vars(self).items()}
        if self.val_interp == INTERPOLATIONS[0]:
            del values["val_interp"]
        return values

    @classmethod
    def of_dict(cls, values: Dict[str, Any]) -> "Preprocessing":
        """From what `as_dict` returns; TypeError for other fields."""
        lists = {key: tuple(one) for key, one in values.items() if isinstance(one, list)}
        return cls(**{**values, **lists})


def given_preprocessing(settings: Any) -> Dict[str, Any]:
    """The fields of a Preprocessing that the flags of the same names have values for."""
    named = ((one.name, getattr(settings, one.name, None)) for one in fields(Preprocessing))
    return {name: value for name, value in named if value is not None}


@dataclass(frozen=True)
class Progress:
    """How far a run has come, and the counts of the current epoch."""

    epoch: int = 0  # finished epochs
    update: int = 0  # updates made
    scores: Scores = field(default_factory=Scores)  # of the current epoch
    seconds: float = 0.0  # of training in the current epoch
    wait_seconds: float = 0.0  # of these seconds, waiting for data
    rate_scale: float = 1.0  # factor on the learning rate, reduced by rollbacks
    rollbacks: int = 0  # number of rollbacks so far (--on-nan)

    @property
    def age(self) -> Tuple[int, int, int, int]:
        """Sorts the checkpoints of a run by creation; after a rollback the updates are fewer.

        The epoch from which a run was branched off may have more updates than the run.
        """
        return self.rollbacks, self.epoch, self.scores.images, self.update


@dataclass(frozen=True)
class Checkpoint:
    """Parameters, and everything needed to continue training from them or to use them."""

    arg: Arrays
    aux: Arrays
    progress: Progress
    state: Arrays = field(default_factory=dict)  # of the engine; empty: parameters only
    preprocessing: Optional[Preprocessing] = None  # None: of another program, unknown
    classes: Tuple[Tuple[str, str], ...] = ()  # (id, name) in the order of the outputs
    validation: Optional[Scores] = None  # None: inside an epoch, or unknown
    minival: Optional[Scores] = None  # on the images of --minival; None: also without the flag
    temperature: float = 1.0  # by which the logits are to be divided; not in the files

    @property
    def known_preprocessing(self) -> Preprocessing:
        """The preprocessing, where a caller has made sure that it is known."""
        assert self.preprocessing is not None
        return self.preprocessing


class CheckpointFiles(NamedTuple):
    """The two files of a checkpoint. Every method raises InputError for invalid files."""

    params: Path
    state: Path

    def exists(self) -> bool:
        """Whether both files exist, or existed except for the last rename before a crash.

        Empty files, which some file systems leave after a loss of power, do not count.
        """
        states = (_new(self.state), self.state)
        return has_content(self.params) and any(map(has_content, states))

    def write(self, checkpoint: Checkpoint) -> str:
        """Write both files; they are complete on disk before the first is renamed into place.

        Returns the SHA-256 of the .params, as `sha256sum` prints it.

        `read` completes the second rename after a crash between the two.
        """
        data = params.dumps(params.join(checkpoint.arg, checkpoint.aux))
        digest = hashlib.sha256(data).hexdigest()
        content = _packed(checkpoint, digest)
        params_new, state_new = _new(self.params), _new(self.state)
        try:
            for path, part in ((params_new, data), (state_new, content.getbuffer())):
                with open(path, "wb") as file:
                    file.write(part)
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(params_new, self.params)
            os.replace(state_new, self.state)
            sync_folder(self.params.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                if params_new.exists():  # after the first rename `read` needs the second file
                    for path in (params_new, state_new):
                        path.unlink()
            older = "" if error.errno == errno.ENOENT else "the older checkpoints are untouched; "
            raise file_error(
                self.params, error, f"{older}{remedy(error)} and run the same command again"
            ) from error
        return digest

    def read(self, epoch: int) -> Checkpoint:
        """Read both files; parameters without an .npz are taken as those after `epoch` epochs."""
        data = read_bytes(self.params)
        arg, aux = params.split(params.loads(data, self.params), self.params)
        digest = hashlib.sha256(data).hexdigest()
        for candidate in (self.state, _new(self.state)):
            about, state = _read_state(candidate) if candidate.exists() else (None, {})
            if about and about["params_sha256"] == digest:
                if candidate != self.state:
                    os.replace(candidate, self.state)  # the rename that a crash prevented
                try:
                    return _unpacked(arg, aux, about, state)
                except TypeError as error:  # a field that this version does not have
                    raise InputError(
                        f"{self.state}: was written by another version ({error}); use that version"
                    ) from error
        if self.state.exists():
            raise InputError(
                f"{self.params}: does not match {self.state.name}; remove both and "
                f"{commands.OLDER_EPOCH}"
            )
        return Checkpoint(arg, aux, Progress(epoch=epoch))

    def preprocessing(self) -> Optional[Preprocessing]:
        """The preprocessing, without reading the rest; None where it is unknown."""
        if not self.state.exists():
            return None
        try:
            return Preprocessing.of_dict(_about(self.state)["preprocessing"])
        except (ValueError, TypeError) as error:
            _refuse_unreadable(self.state, error)
            raise InputError(
                f"{self.state}: is damaged ({error}); remove it and its .params"
            ) from error

    def progress(self) -> Optional[Progress]:
        """The progress, without reading the rest; None if the .npz is not there or damaged."""
        try:
            return _progress(_about(self.state))
        except (ValueError, TypeError):
            return None

    def selection(self) -> Optional[Scores]:
        """The scores that select the best epoch, without reading the rest; None: unknown.

        They are those of the minival, or those of the validation without one.
        """
        try:
            about = _about(self.state)
            return _scores(about, "minival") or _scores(about, "validation")
        except (ValueError, TypeError):
            return None

    def remove(self) -> None:
        """Remove both, the parameters first: without .npz they look like another program's."""
        self.params.unlink(missing_ok=True)
        self.state.unlink(missing_ok=True)


def has_content(path: Path) -> bool:
    """Whether a file exists and is not empty.

    InputError where the file system does not say: a run would go back to an older checkpoint.
    """
    try:
        return path.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise file_error(path, error) from error


def read_arrays(path: Path) -> Arrays:
    """All arrays of an .npz; ValueError if it is damaged, not an .npz, or holds pickles."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except DAMAGED as error:
        raise ValueError(str(error)) from error


# --- content of the .npz -----------------------------------------------------------------------


def _packed(checkpoint: Checkpoint, digest: str) -> io.BytesIO:
    about = {
        "params_sha256": digest,
        "progress": {**asdict(checkpoint.progress), "scores": _counts(checkpoint.progress.scores)},
        "preprocessing": checkpoint.known_preprocessing.as_dict(),
        "classes": checkpoint.classes,
        "validation": checkpoint.validation and _counts(checkpoint.validation),
    }
    if checkpoint.minival:
        about["minival"] = _counts(checkpoint.minival)
    arrays = {f"state/{key}": value for key, value in checkpoint.state.items()}
    return packed({"about": np.array(json.dumps(about)), **arrays}, compressed=False)


_SCORES = {"images": int, "rank1": int, "rank5": int, "loss": NUMBER, "mean_precision?": NUMBER}
PREPROCESSING_SHAPE = {
    "image_shape": [int, int, int], "rgb_mean": [NUMBER] * 3, "rgb_std": [NUMBER] * 3,
    "val_resize": int, "bgr?": bool, "val_interp?": str,
}  # fmt: skip
_ABOUT = {
    "params_sha256": str,
    "progress": {"epoch": int, "update": int, "scores": _SCORES, "*": NUMBER},
    "preprocessing": PREPROCESSING_SHAPE,
    "classes": [[str, str]],
    "validation?": _SCORES,
    "minival?": _SCORES,
}


def _unpacked(arg: Arrays, aux: Arrays, about: Dict[str, Any], state: Arrays) -> Checkpoint:
    classes = tuple((printable(id_), printable(name)) for id_, name in about["classes"])
    scores = _scores(about, "validation"), _scores(about, "minival")
    how = Preprocessing.of_dict(about["preprocessing"])
    return Checkpoint(arg, aux, _progress(about), state, how, classes, *scores)


def _read_state(path: Path) -> Tuple[Optional[Dict[str, Any]], Arrays]:
    """The description and the engine's state in an .npz; (None, {}) for an incomplete .new."""
    try:
        arrays = read_arrays(path)
        about = json.loads(str(arrays["about"]))
        check(about, _ABOUT)
        state = {key[6:]: value for key, value in arrays.items() if key.startswith("state/")}
        return about, state
    except (ValueError, KeyError, TypeError) as error:
        _refuse_unreadable(path, error)
        if path.suffix == ".new":
            return None, {}
        raise InputError(
            f"{path}: is damaged ({error}); remove it and its .params and {commands.OLDER_EPOCH}"
        ) from error


def _refuse_unreadable(path: Path, error: Exception) -> None:
    """InputError where the file could not be read, which is no damage: it must not be removed."""
    cause = error.__cause__
    # A damaged file may make zipfile seek to a position below zero.
    if isinstance(cause, OSError) and cause.errno != errno.EINVAL:
        raise file_error(path, cause) from cause


def _about(path: Path) -> Dict[str, Any]:
    """The description in an .npz without its arrays; ValueError if it cannot be read.

    TypeError, where its fields are used, means a field that another version wrote.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
    except DAMAGED as error:
        raise ValueError(str(error)) from error
    check(about, _ABOUT)
    return about


def _progress(about: Dict[str, Any]) -> Progress:
    scores = Scores(**about["progress"]["scores"])
    return Progress(**dict(about["progress"], scores=scores))


def _scores(about: Dict[str, Any], of: str) -> Optional[Scores]:
    counts = about.get(of)
    return Scores(**counts) if counts else None


def _counts(scores: Scores) -> Dict[str, Any]:
    """The fields by name, without those that are unknown, which older versions do not have."""
    return {name: value for name, value in asdict(scores).items() if value is not None}


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")
