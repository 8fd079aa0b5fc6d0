"""Who takes part in a comparison: networks with the flags of their trainings, or finished runs."""

import json
import os
import shlex
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import symbols
from imagenet_trainer.config import CompareSettings, FitSettings, recipes
from imagenet_trainer.config.flags import default_of, flag_of, is_given, parse_or_raise
from imagenet_trainer.errors import ArgumentError, InputError, attributed_to
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.datasets import open_training_set, open_validation_set

# Flags with which fit trains nothing, and those that a comparison decides by itself.
_OWNED = (
    "network", "model_prefix", "load_epoch", "recipe list", "show_schedule", "find_lr",
    "find_batch", "summary", "test_io", "benchmark", "when_done",
)  # fmt: skip
# What finished runs may still be told.
_OF_MEASURING = ("data_val", "data_val_idx", "data_nthreads", "gpus", "engine", "batch_size")
_SAME = ("data_train", "data_train_idx", "data_val", "data_val_idx")


@dataclass(frozen=True)
class Entrant:
    """One network of a comparison, and its run."""

    name: str  # in the report; that of its folder
    series: str  # the same for trainings that differ in their share of the images alone
    run: Run
    own_flags: str  # those of its line in the file
    words: Tuple[str, ...] = ()  # fit's command line; none for a run that is finished
    settings: Optional[FitSettings] = None  # what these words mean

    def settings_as_json(self) -> Any:
        """The settings as they come back from a JSON file."""
        return json.loads(json.dumps(asdict(self.settings))) if self.settings else None


def entrants(settings: CompareSettings, words: Sequence[str]) -> List[Entrant]:
    """Everybody who takes part, in the order in which they were named.

    Parameters
    ----------
    settings
        of the comparison.
    words
        flags of fit that all trainings get.

    Raises InputError where flags do not go together, name no network, or are refused by fit.

    """
    if bool(settings.networks) == bool(settings.runs):
        raise InputError(
            "--networks or --runs: one of them has to say what is compared, such as --networks "
            "resnet-18,mobilenet or --runs runs/a/model,runs/b/model"
        )
    found = _finished(settings, words) if settings.runs else list(_to_train(settings, words))
    if not found:
        raise InputError(f"--networks {settings.networks}: names no network")
    return found


def check(found: Sequence[Entrant]) -> Dict[str, str]:
    """Fingerprints of the images that all train and are validated on, as config.json has them.

    Raises InputError where there are none, where trainings do not have the same, and for a network
    that cannot be built for its images: better now than after the trainings before it.
    """
    first = found[0].settings
    assert first is not None
    for one in found:
        assert one.settings is not None
        for name in _SAME:
            ours, theirs = getattr(one.settings, name), getattr(first, name)
            if ours != theirs:
                raise InputError(
                    f"{one.name}: {flag_of(name)} {ours or 'none'}: {found[0].name} has "
                    f"{theirs or 'none'}; networks are compared on the same images"
                )
    train = open_training_set(first)
    val = open_validation_set(first, train.classes, train.path)
    train.shards.close()
    val.shards.close()
    for one in found:
        _check_network(one, len(train.classes))
    return {"train": train.fingerprint, "val": val.fingerprint}


def _check_network(one: Entrant, classes: int) -> None:
    from imagenet_trainer.train.setup import start_of

    assert one.settings is not None
    with attributed_to(one.name):
        start_of(one.settings).symbol(classes)


# --- networks to train -------------------------------------------------------------------------


def _to_train(settings: CompareSettings, common: Sequence[str]) -> Iterator[Entrant]:
    _refuse_owned(settings, common, "")
    names: Dict[str, int] = {}
    for where, network, own in _lines(settings.networks):
        _refuse_owned(_read([*common, *own], where), own, where)
        for fraction in settings.fractions or (None,):
            words = [*common, *own, f"--network={network}"]
            if fraction is not None:
                if is_given("train_fraction", words):
                    raise InputError(f"{where}--train-fraction: --fractions says it for all")
                words.append(f"--train-fraction={fraction:g}")
            meant = _read(words, where)
            series = _unused(_name_of(meant, network, where), names, fraction)
            name = series if fraction is None else f"{series}-{fraction:g}"
            run = Run(str(Path(settings.output) / name / "model"))
            words.append(f"--model-prefix={run.prefix}")
            yield Entrant(name, series, run, shlex.join(own), tuple(words), _read(words, where))


def _name_of(meant: FitSettings, network: str, where: str) -> str:
    try:
        return symbols.find(network, meant.num_layers).name
    except ArgumentError as error:
        # The flag of this command is --networks.
        flag = "--networks" if error.argument == "network" else flag_of(error.argument)
        raise InputError(f"{where}{flag}{str(error)[len(error.argument) :]}") from None


def _unused(name: str, names: Dict[str, int], fraction: Optional[float]) -> str:
    """The name, or with -2, -3 behind it if others have it; fractions of one share theirs."""
    key = f"{name} {fraction}"
    names[key] = names.get(key, 0) + 1
    return name if names[key] == 1 else f"{name}-{names[key]}"


def _lines(value: str) -> Iterator[Tuple[str, str, List[str]]]:
    """Where it stands (for errors), a network, and flags of its own."""
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
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InputError(f"{where}{error}; close its quotes") from None
        if words and words[0].startswith("-"):
            raise InputError(f"{where}{words[0]}: a line begins with the name of a network")
        if words:
            yield where, words[0], words[1:]


def _read(words: Sequence[str], where: str) -> FitSettings:
    try:
        return parse_or_raise(FitSettings, recipes.expanded(words))
    except InputError as error:
        raise InputError(f"{where}{error}") from None


def _refuse_owned(settings: Any, words: Sequence[str], where: str) -> None:
    for word in _OWNED:
        name, _, value = word.partition(" ")
        if is_given(name, words) and (not value or getattr(settings, name) == value):
            raise InputError(
                f"{where}{flag_of(name)}: a comparison decides that itself, by --networks and "
                "--output; leave it away"
            )


# --- finished runs -----------------------------------------------------------------------------


def _finished(settings: CompareSettings, words: Sequence[str]) -> List[Entrant]:
    for field in fields(FitSettings):
        if field.name not in _OF_MEASURING and is_given(field.name, words):
            raise InputError(f"{flag_of(field.name)}: --runs are trained already; leave it away")
    if settings.fractions:
        raise InputError("--fractions: --runs are trained already; leave it away")
    found, names = [], dict.fromkeys(settings.runs, "")
    taken: Dict[str, int] = {}
    for prefix in names:
        run = Run(prefix)
        if not run.epochs():
            raise InputError(
                f"--runs {prefix}: no finished epoch in {run.folder}; train it first with "
                "python -m imagenet_trainer.fit"
            )
        before = run.read_json(run.config_path).get("settings", {})
        share = before.get("train_fraction", default_of(FitSettings, "train_fraction"))
        name = _unused(run.folder.resolve().name, taken, None)
        series = name[: -len(f"-{share:g}")] if name.endswith(f"-{share:g}") else name
        found.append(Entrant(name, series, run, ""))
    return found
