"""A comparison: trains and measures one network after the other and writes the report."""

import shlex
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from imagenet_trainer.comparison import child_process
from imagenet_trainer.comparison.analysis import Result, recommendations
from imagenet_trainer.comparison.candidates import Candidate, check, find_candidates
from imagenet_trainer.comparison.page import Comparison, write
from imagenet_trainer.comparison.results import read_results, read_stored, store, with_latencies
from imagenet_trainer.config import CompareSettings, LatencySettings, MeasureSettings, flags
from imagenet_trainer.config.python_values import arguments_of
from imagenet_trainer.errors import InputError, print_message
from imagenet_trainer.system.block_cache import use_cache
from imagenet_trainer.system.files import make_folder
from imagenet_trainer.system.interrupts import Interrupts

log = partial(print_message, "compare")

# Flags that the measuring process gets unchanged.
_OF_MEASURING = (
    "cache_dir", "cache_size", "gpus", "engine", "compile", "data_nthreads", "label_index",
    "rounds", "largest_batch", "measure_again",
)  # fmt: skip


@dataclass
class State:
    """The progress of a comparison."""

    results: List[Result] = field(default_factory=list)
    failed: Dict[str, str] = field(default_factory=dict)  # excluded networks, and why
    images: str = ""  # describes the validation images
    report: str = ""  # path of the page


def compare_networks(settings: CompareSettings, arguments: Sequence[str]) -> Tuple[State, int]:
    """Run a comparison and print its recommendations.

    Parameters
    ----------
    settings
        all settings of the comparison.
    arguments
        the flags of fit that all trainings get, as a command line.

    Returns
    -------
    The results, and the exit code: that of a signal, or 1 if a network failed.

    Raises InputError before the first training if flags or images do not fit, and at the end if
    no network could be compared.

    """
    use_cache(settings.cache_dir, settings.cache_size)
    with Interrupts() as interrupts:
        state = _run(settings, arguments, interrupts)
        if interrupts:
            log("interrupted; run the same command again to continue")
            return state, interrupts.exit_code
    for one in recommendations(state.results):
        print(f"{one.purpose}: {one.network} ({one.reason})")
    print(f"full report: {state.report}")
    return state, 1 if state.failed else 0


def _run(settings: CompareSettings, arguments: Sequence[str], interrupts: Interrupts) -> State:
    candidates = find_candidates(settings, arguments)
    fingerprints = check(candidates) if settings.networks else {}
    make_folder(settings.output)
    images = validation_images(settings, candidates, arguments)
    measuring = _values_of_measuring(settings, images)
    state = State(images=images[0])
    fingerprint = ""
    for position, candidate in enumerate(candidates, start=1):
        title = f"[{position}/{len(candidates)}] {candidate.name}"
        try:
            if candidate.arguments and not is_trained(candidate, fingerprints):
                print(f"{title}: training", flush=True)
                train(candidate, interrupts)
            if interrupts:
                break
            print(f"{title}: measuring", flush=True)
            measure(candidate, measuring, interrupts)
            if interrupts:
                break
            measured = read_results(candidate)
            if fingerprint not in ("", measured.fingerprint):
                raise InputError(
                    f"{images[0]}: changed during the comparison; run the same command again"
                )
        except InputError as error:
            state.failed[candidate.name] = str(error)
            log(f"{candidate.name} is excluded: {error}")
        else:
            state.images, fingerprint = measured.images, measured.fingerprint
            state.results.append(measured.result)
            print(f"{title}: {summary(measured.result)}", flush=True)
        state.report = write_report(settings, arguments, state, candidates[position:])
        if interrupts:
            break
    if state.results and not interrupts:
        complete = [one for one in candidates if one.name not in state.failed]
        print(f"measuring latencies of {len(complete)} networks in turn", flush=True)
        measure_latencies(complete, state, measuring, interrupts)
        state.report = write_report(settings, arguments, state, ())
    if not state.results and not interrupts:
        raise InputError(
            f"none of {len(candidates)} networks could be compared; see the messages above"
        )
    return state


def is_trained(candidate: Candidate, fingerprints: Mapping[str, str]) -> bool:
    """Whether the run is complete with these settings and images, so that fit has nothing to do."""
    assert candidate.settings is not None
    run = candidate.run
    data = run.read_json(run.config_path).get("data", {})
    return (
        read_stored(run).get("training", {}).get("settings") == candidate.settings_as_json()
        and {name: data.get(name) for name in fingerprints} == fingerprints
        and run.epochs()[-1:] == [candidate.settings.num_epochs]
        and run.own_checkpoints()[:1] == [candidate.settings.num_epochs]
    )


def train(candidate: Candidate, interrupts: Interrupts) -> None:
    """Start or continue its training in a process of fit, and store time and memory.

    Raises InputError with the message of fit if it fails.
    """
    make_folder(candidate.run.folder)
    ended = child_process.run(
        "imagenet_trainer.fit", candidate.arguments, interrupts, forward_signals=True
    )
    before = read_stored(candidate.run).get("training", {})
    training = {
        "settings": candidate.settings_as_json(),
        "seconds": before.get("seconds", 0.0) + ended.seconds,
        "peak_bytes": max(before.get("peak_bytes", 0), ended.peak_bytes),
    }
    store(candidate.run, {"training": training})
    if ended.error:
        # The comparison derives --model-prefix from --output.
        raise InputError(ended.error.replace("--model-prefix", "--output"))


def measure(candidate: Candidate, values: Mapping[str, Any], interrupts: Interrupts) -> None:
    """Evaluate and time a network in another process; stored measurements are reused.

    `values` are flags by name. Raises InputError if it fails.
    """
    arguments = arguments_of(MeasureSettings, {**values, "model_prefix": candidate.run.prefix})
    ended = child_process.run("imagenet_trainer.comparison.measure", arguments, interrupts)
    if ended.error:
        raise InputError(ended.error)


def measure_latencies(
    candidates: Sequence[Candidate], state: State, values: Mapping[str, Any], interrupts: Interrupts
) -> None:
    """Measure the latencies of all networks in turn, and complete the results with them.

    Without them, for example where all networks together do not fit into memory, the comparison
    has no latencies.
    """
    runs = tuple(one.run.prefix for one in candidates)
    arguments = arguments_of(LatencySettings, {**values, "runs": runs})
    ended = child_process.run("imagenet_trainer.comparison.latency", arguments, interrupts)
    if ended.error:
        log(f"latencies are unknown: {ended.error}")
    elif not interrupts:
        pairs = zip(state.results, candidates)
        state.results = [with_latencies(result, one.run) for result, one in pairs]


def _values_of_measuring(settings: CompareSettings, images: Tuple[str, str]) -> Dict[str, Any]:
    """The flags of a process that measures, by name."""
    values = {name: getattr(settings, name) for name in _OF_MEASURING}
    values.update(data_val=images[0], data_val_idx=images[1])
    values["batch_size"] = min(64, settings.batch_size)
    return values


def validation_images(
    settings: CompareSettings, candidates: Sequence[Candidate], arguments: Sequence[str]
) -> Tuple[str, str]:
    """--data-val and --data-val-idx for all networks: from the flags, or from the first run."""
    first = candidates[0]
    if first.settings is not None:
        return first.settings.data_val, first.settings.data_val_idx
    if flags.is_given("data_val", arguments):
        return settings.data_val, settings.data_val_idx
    path, index = first.run.validation_shard()
    return path, settings.data_val_idx or index


def summary(result: Result) -> str:
    """One line about a network."""
    return (
        f"rank-1 {100 * result.rank1:.1f} % after epoch {result.best_epoch}, "
        f"{result.parameters:,} parameters"
    )


def write_report(
    settings: CompareSettings, arguments: Sequence[str], state: State, waiting: Sequence[Candidate]
) -> str:
    """Write the report with the results so far; return the path of its page."""
    names = [one.name for one in state.results]
    facts = [("validation images", state.images)]
    if settings.networks:
        facts.insert(0, ("training images", settings.data_train))
        facts.append(("flags of all trainings", shlex.join(arguments) or "none"))
    facts += [(f"flags of {one.name}", one.flags) for one in state.results if one.flags]
    title = settings.title or f"Comparison of {', '.join(names[:6])}{' ...' * (len(names) > 6)}"
    comparison = Comparison(
        title, facts, state.results, state.failed, [one.name for one in waiting]
    )
    return str(write(comparison, settings.output))
