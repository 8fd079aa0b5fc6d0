"""Where two trainings part: `compare --runs A B --first-difference`.

Everything that events.jsonl records about the numbers of a training is compared bit for bit: the
losses and accuracies of each interval between log lines, the parameters of each checkpoint by
their SHA-256, and each validation. Two trainings with the same settings on the same device agree in
all of them, so the first difference shows how far they were the same.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from imagenet_trainer.config import CompareSettings, FitSettings
from imagenet_trainer.config.flags import flag_of, is_set
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.events import read_events
from imagenet_trainer.runs.run import Run

# What is compared of an event, in the order in which the three follow from an update.
_VALUES = {
    "interval": ("loss", "rank1", "rank5"),
    "checkpoint": ("params_sha256",),
    "validation": ("loss", "rank1", "rank5"),
}
_KINDS = tuple(_VALUES)
# Settings that differ between any two runs, or say only where files are.
_PLACES = ("model_prefix", "load_epoch", "when_done")
_Mark = Tuple[int, int, int]  # update, index of the kind, updates of an interval


@dataclass(frozen=True)
class Difference:
    """The first event in which two runs differ."""

    update: int  # updates made
    kind: str  # interval, checkpoint, validation
    first_update: int  # counted from 1, that the event covers
    name: str  # loss, rank1, rank5, params_sha256
    values: Tuple[Any, Any]


@dataclass(frozen=True)
class Outcome:
    """What two runs have in common."""

    difference: Optional[Difference]
    equal: Dict[str, int]  # number of equal events before it, by kind
    last_equal: int  # the update up to which they are equal
    settings: Dict[str, Tuple[Any, Any]]  # what differs in config.json, by flag or name


def first_difference(settings: CompareSettings) -> Outcome:
    """Compare the two runs of the settings; InputError for flags that change nothing."""
    for field in fields(settings):
        if field.name not in ("runs", "first_difference") and is_set(settings, field.name):
            raise InputError(
                f"{flag_of(field.name)}: has no effect with --first-difference; omit it"
            )
    return compare_runs(settings.runs)


def compare_runs(prefixes: Sequence[str]) -> Outcome:
    """Compare two runs; InputError unless they are two that recorded the same updates."""
    if len(prefixes) != 2:
        raise InputError(
            f"--first-difference: compares two runs, not {len(prefixes)}; name them with --runs A B"
        )
    runs = [Run(prefix) for prefix in prefixes]
    for run in runs:
        run.read_symbol()  # InputError for a prefix without a run
    ours, theirs = (_marks(run) for run in runs)
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise InputError(
            f"{runs[0].events_path}: has no updates in common with {runs[1].events_path}; train "
            "both with the same --disp-batches"
        )
    equal, last = dict.fromkeys(_KINDS, 0), 0
    difference = None
    for mark in both:
        difference = _difference(mark, ours[mark], theirs[mark])
        if difference:
            break
        equal[_KINDS[mark[1]]] += 1
        last = mark[0]
    return Outcome(difference, equal, last, _different_settings(*runs))


def _marks(run: Run) -> Dict[_Mark, Mapping[str, Any]]:
    """The events to compare. Checkpoints of versions without a digest are left out."""
    marks: Dict[_Mark, Mapping[str, Any]] = {}
    for event in read_events(run.events_path):
        kind = event["event"]
        if kind in _VALUES and all(name in event for name in _VALUES[kind]):
            marks[event["update"], _KINDS.index(kind), event.get("updates", 0)] = event
    return marks


def _difference(
    mark: _Mark, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> Optional[Difference]:
    update, kind, updates = mark
    for name in _VALUES[_KINDS[kind]]:
        if ours[name] != theirs[name]:
            first = update - max(updates, 1) + 1
            return Difference(update, _KINDS[kind], first, name, (ours[name], theirs[name]))
    return None


def _different_settings(ours: Run, theirs: Run) -> Dict[str, Tuple[Any, Any]]:
    """Flags and facts of config.json that differ; a flag that one lacks has its default."""
    defaults = json.loads(json.dumps(asdict(FitSettings())))
    configs = [run.read_json(run.config_path) for run in (ours, theirs)]
    flags = [{**defaults, **config.get("settings", {})} for config in configs]
    names = [one.name for one in fields(FitSettings) if one.name not in _PLACES]
    found = {flag_of(n): (flags[0][n], flags[1][n]) for n in names if flags[0][n] != flags[1][n]}
    for name in ("engine", "workers", "omp_num_threads"):
        found[name] = (configs[0].get(name), configs[1].get(name))
    for name in ("train", "val"):
        found[f"{name} images"] = tuple(_part(one, "data", name) for one in configs)
    # Only packages that both have can differ; PyTorch is listed where it trained.
    versions = [one.get("versions", {}).keys() for one in configs]
    for name in sorted(versions[0] & versions[1]):
        found[f"version of {name}"] = tuple(_part(one, "versions", name) for one in configs)
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _part(config: Mapping[str, Any], group: str, name: str) -> Any:
    return config.get(group, {}).get(name)


def report_lines(prefixes: Sequence[str], outcome: Outcome) -> List[str]:
    """The result in words."""
    lines = []
    one = outcome.difference
    if one is None:
        lines.append(f"no difference up to update {outcome.last_equal}")
    else:
        lines.append(f"first difference: {_place(one)}")
        for prefix, value in zip(prefixes, one.values):
            lines.append(f"  {prefix}: {one.name} {'not finite' if value is None else value}")
    counts = [f"{count} {kind}s" for kind, count in outcome.equal.items() if count]
    before = f", up to update {outcome.last_equal}" if one and counts else ""
    lines.append(f"equal bit for bit: {', '.join(counts) or 'nothing'}{before}")
    for name, pair in outcome.settings.items():
        lines.append(f"different: {name} {_text(pair[0])} and {_text(pair[1])}")
    if not outcome.settings:
        lines.append("the settings, images and versions are the same")
    return lines


def _place(one: Difference) -> str:
    if one.kind == "checkpoint":
        return f"the parameters of the checkpoint after update {one.update}"
    if one.kind == "validation":
        return f"the validation after update {one.update}"
    if one.first_update == one.update:
        return f"update {one.update}"
    return f"one of the updates {one.first_update} to {one.update}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)


def print_first_difference(settings: CompareSettings) -> int:
    """Print where two runs part; return 1 if they do, else 0, like `cmp`."""
    outcome = first_difference(settings)
    print("\n".join(report_lines(settings.runs, outcome)))
    return int(outcome.difference is not None)
