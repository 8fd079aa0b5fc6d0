"""Candidates of a comparison: networks with the flags of their trainings, or finished runs."""

import json
import os
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from imagenet_trainer import symbols
from imagenet_trainer.config import CompareSettings, FitSettings, commands, layers
from imagenet_trainer.config.flags import default_of, flag_of, is_given, parse_or_raise
from imagenet_trainer.errors import ArgumentError, InputError, attributed_to
from imagenet_trainer.runs.run import Run
from imagenet_trainer.text import printable
from imagenet_trainer.train.datasets import open_training_set, open_validation_set
from imagenet_trainer.train.setup import training_setup

# Flags that the comparison sets, and flags with which fit does not train.
_REFUSED = (
    "network", "model_prefix", "load_epoch", "recipe list", "show_config", "show_schedule",
    "find_lr", "find_batch", "summary", "test_io", "benchmark", "when_done", "multi_label",
    "json",
)  # fmt: skip
# Flags of fit that also apply to the measurement of finished runs.
_OF_MEASURING = (
    "data_val", "data_val_idx", "label_index", "data_nthreads", "cache_dir", "cache_size", "gpus",
    "engine", "compile", "batch_size",
)  # fmt: skip
_Taken = Tuple[str, Optional[float]]  # a name, and the fraction of the images
_SAME_FOR_ALL = ("data_train", "data_train_idx", "data_val", "data_val_idx", "label_index")


@dataclass(frozen=True)
class Candidate:
    """One network of a comparison, and its run."""

    name: str  # in the report, and of its folder
    series: str  # the same for trainings that differ only in their share of the images
    run: Run
    own_flags: str  # those of its line in the file
    arguments: Tuple[str, ...] = ()  # fit's command line; empty for a finished run
    settings: Optional[FitSettings] = None  # the parsed arguments

    def settings_as_json(self) -> Any:
        """The settings as they are read back from a JSON file."""
        return json.loads(json.dumps(asdict(self.settings))) if self.settings else None


def find_candidates(settings: CompareSettings, arguments: Sequence[str]) -> List[Candidate]:
    """All candidates, in the order in which they were given.

    Parameters
    ----------
    settings
        of the comparison.
    arguments
        flags of fit that all trainings get, as a command line.

    Raises InputError if flags contradict each other, name no network, or are refused by fit.

    """
    if bool(settings.networks) == bool(settings.runs):
        raise InputError(
            "--networks or --runs: give exactly one of them, such as --networks "
            "resnet-18,mobilenet or --runs runs/a/model,runs/b/model"
        )
    if settings.runs:
        return _finished(settings, arguments)
    candidates = list(_to_train(settings, arguments))
    if not candidates:
        raise InputError(f"--networks {settings.networks}: names no network; name one or more")
    return candidates


def check(candidates: Sequence[Candidate]) -> Dict[str, str]:
    """Check images and networks before the first training.

    Returns the fingerprints of the training and validation images as in config.json. Raises
    InputError if there are no images, if they are not the same for all trainings, and for a
    network that cannot be built for its image size.
    """
    first = candidates[0].settings
    assert first is not None
    for one in candidates:
        assert one.settings is not None
        for name in _SAME_FOR_ALL:
            value, other = getattr(one.settings, name), getattr(first, name)
            if value != other:
                raise InputError(
                    f"{one.name}: {flag_of(name)} {value or 'none'}: {candidates[0].name} has "
                    f"{other or 'none'}; networks are compared on the same images"
                )
    train = open_training_set(first)
    val = open_validation_set(first, train.classes, train.path)
    train.shards.close()
    val.shards.close()
    for one in candidates:
        assert one.settings is not None
        with attributed_to(one.name):
            training_setup(one.settings).symbol(len(train.classes))
    return {"train": train.fingerprint, "val": val.fingerprint}


# --- networks to train -------------------------------------------------------------------------


def _to_train(settings: CompareSettings, common: Sequence[str]) -> Iterator[Candidate]:
    _check_flags(settings, common, "")
    taken: Set[_Taken] = set()
    for where, network, own in _lines(settings.networks):
        _check_flags(_read([*common, *own], where), own, where)
        for fraction in settings.fractions or (None,):
            arguments = [*common, *own, f"--network={network}"]
            if fraction is not None:
                if is_given("train_fraction", arguments):
                    raise InputError(
                        f"{where}--train-fraction: --fractions sets it; omit one of the two"
                    )
                arguments.append(f"--train-fraction={fraction:g}")
            parsed = _read(arguments, where)
            series = _unique(_name_of(parsed, network, where), taken, fraction)
            name = series if fraction is None else f"{series}-{fraction:g}"
            run = Run(str(Path(settings.output) / name / "model"))
            arguments.append(f"--model-prefix={run.prefix}")
            parsed = _read(arguments, where)
            yield Candidate(name, series, run, shlex.join(own), tuple(arguments), parsed)


def _name_of(settings: FitSettings, network: str, where: str) -> str:
    try:
        return symbols.find(network, settings.num_layers).name
    except ArgumentError as error:
        # The flag of this command is --networks.
        flag = "--networks" if error.argument == "network" else flag_of(error.argument)
        raise InputError(f"{where}{flag}{str(error)[len(error.argument) :]}") from None


def _unique(name: str, taken: Set[_Taken], fraction: Optional[float] = None) -> str:
    """The name, with -2, -3 ... appended if it is taken; fractions of one network share a name."""
    found, number = name, 1
    while (found, fraction) in taken:
        number += 1
        found = f"{name}-{number}"
    taken.add((found, fraction))
    return found


def _lines(value: str) -> Iterator[Tuple[str, str, List[str]]]:
    """For each network: its line (a prefix of errors), its name, and its own flags."""
    if not os.path.isfile(value):
        if value.endswith(".txt"):
            raise InputError(f"--networks {value}: no such file")
        yield from (("", name.strip(), []) for name in value.split(",") if name.strip())
        return
    try:
        text = Path(value).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--networks {value}: cannot be read as text ({error})") from None
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{value}, line {number}: "
        try:
            parts = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"{where}{error}; close the quotes") from None
        if parts and parts[0].startswith("-"):
            raise InputError(f"{where}{parts[0]}: a line starts with the name of a network")
        if parts:
            yield where, parts[0], parts[1:]


def _read(arguments: Sequence[str], where: str) -> FitSettings:
    try:
        return parse_or_raise(FitSettings, layers.expanded(arguments))
    except InputError as error:
        raise InputError(f"{where}{error}") from None


def _check_flags(settings: Any, arguments: Sequence[str], where: str) -> None:
    for refused in _REFUSED:
        name, _, value = refused.partition(" ")
        if is_given(name, arguments) and (not value or getattr(settings, name) == value):
            raise InputError(
                f"{where}{flag_of(name)}: cannot be used in a comparison, which trains --networks "
                "into --output; omit it"
            )


# --- finished runs -----------------------------------------------------------------------------


def _finished(settings: CompareSettings, arguments: Sequence[str]) -> List[Candidate]:
    for field in fields(FitSettings):
        if field.name not in _OF_MEASURING and is_given(field.name, arguments):
            raise InputError(f"{flag_of(field.name)}: --runs are trained already; omit it")
    if settings.fractions:
        raise InputError("--fractions: --runs are trained already; omit it")
    candidates = []
    taken: Set[_Taken] = set()
    folders: Dict[Path, str] = {}
    for prefix in dict.fromkeys(settings.runs):
        run = Run(prefix)
        other = folders.setdefault(run.folder.resolve(), prefix)
        if other != prefix:
            raise InputError(
                f"--runs {prefix}: has the folder of {other}, and history and measurements are "
                "files of a folder, not of a network; copy it into a folder of its own"
            )
        if not run.epochs():
            raise InputError(
                f"--runs {prefix}: no finished epoch in {run.folder}; train it first with "
                f"{commands.TRAIN}"
            )
        config = run.settings()
        if config.get("multi_label"):
            raise InputError(
                f"--runs {prefix}: is for images with several classes (--multi-label), and compare "
                "counts the one class of an image; omit it, evaluate --compare compares two of them"
            )
        share = config.get("train_fraction", default_of(FitSettings, "train_fraction"))
        name = _unique(printable(run.folder.resolve().name), taken)
        series = name[: -len(f"-{share:g}")] if name.endswith(f"-{share:g}") else name
        candidates.append(Candidate(name, series, run, ""))
    return candidates
