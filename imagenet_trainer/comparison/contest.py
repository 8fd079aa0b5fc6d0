"""Carved out of imagenet_trainer/compare.py."""

import shlex
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Dict, List, Mapping, Sequence, Tuple

from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError, print_message

log = partial(print_message, "compare")

if TYPE_CHECKING:
    from imagenet_trainer.comparison.analysis import Entry
    from imagenet_trainer.comparison.candidates import Entrant
    from imagenet_trainer.system.interrupts import Interrupts


# Flags that go on to the process that measures, as they are.
_OF_MEASURING = ("gpus", "engine", "data_nthreads", "rounds", "largest_batch", "measure_again")


@dataclass
class Standing:
    """How far a comparison has come."""

    entries: "List[Entry]" = field(default_factory=list)
    failed: Dict[str, str] = field(default_factory=dict)  # name: why it is left out
    images: str = ""  # what all are asked about, in words
    report: str = ""  # the page


def compare(
    settings: config.CompareSettings, words: Sequence[str], interrupts: "Interrupts"
) -> Standing:
    """Train, measure and report until all is done or a signal comes.

    `words` are the flags of fit that all trainings get. Raises InputError before anything is
    trained where something does not fit, and after all when no network is left to compare.
    """
    from imagenet_trainer.comparison.candidates import check, entrants
    from imagenet_trainer.comparison.results import entry_of
    from imagenet_trainer.system.files import make_folder

    found = entrants(settings, words)
    images = check(found) if settings.networks else {}
    make_folder(settings.output)
    shown = validation_images(settings, found, words)
    standing = Standing(images=shown[0])
    fingerprint = ""
    for place, entrant in enumerate(found, start=1):
        title = f"[{place}/{len(found)}] {entrant.name}"
        try:
            if entrant.words and not is_trained(entrant, images):
                print(f"{title}: training", flush=True)
                train(entrant, interrupts)
            if interrupts:
                break
            print(f"{title}: measuring", flush=True)
            measure(entrant, settings, shown, interrupts)
            if interrupts:
                break
            result = entry_of(entrant)
            if fingerprint not in ("", result.fingerprint):
                raise InputError(
                    f"{shown[0]}: was packed anew meanwhile; run the same command again"
                )
        except InputError as error:
            standing.failed[entrant.name] = str(error)
            log(f"{entrant.name} is left out: {error}")
        else:
            standing.images, fingerprint = result.images, result.fingerprint
            standing.entries.append(result.entry)
            print(f"{title}: {line(result.entry)}", flush=True)
        standing.report = report(settings, words, standing, found[place:])
        if interrupts:
            break
    if not standing.entries and not interrupts:
        raise InputError(
            f"none of {len(found)} networks could be compared; the lines above say why"
        )
    return standing


def is_trained(entrant: "Entrant", images: Mapping[str, str]) -> bool:
    """Whether these very settings and images have been trained to the last epoch, so that fit
    need not be asked.
    """
    from imagenet_trainer.comparison.results import kept_of

    assert entrant.settings is not None
    run = entrant.run
    data = run.read_json(run.config_path).get("data", {})
    return (
        kept_of(run).get("training", {}).get("settings") == entrant.settings_as_json()
        and {name: data.get(name) for name in images} == images
        and run.epochs()[-1:] == [entrant.settings.num_epochs]
        and run.own_checkpoints()[:1] == [entrant.settings.num_epochs]
    )


def train(entrant: "Entrant", interrupts: "Interrupts") -> None:
    """Train it, or go on; note what that took. InputError with its own words if it failed."""
    from imagenet_trainer.comparison import child_process as child
    from imagenet_trainer.comparison.results import keep, kept_of
    from imagenet_trainer.system.files import make_folder

    make_folder(entrant.run.folder)
    ended = child.run("imagenet_trainer.fit", entrant.words, interrupts, saves=True)
    before = kept_of(entrant.run).get("training", {})
    training = {
        "settings": entrant.settings_as_json(),
        "seconds": before.get("seconds", 0.0) + ended.seconds,
        "peak_bytes": max(before.get("peak_bytes", 0), ended.peak_bytes),
    }
    keep(entrant.run, training=training)
    if ended.error:
        # In the words of this command.
        raise InputError(ended.error.replace("--model-prefix", "--output"))


def measure(
    entrant: "Entrant",
    settings: config.CompareSettings,
    images: Tuple[str, str],
    interrupts: "Interrupts",
) -> None:
    """Score and time it, or find what was measured before; InputError if that failed.

    `images` are --data-val and --data-val-idx for all.
    """
    from imagenet_trainer.comparison import child_process as child

    told = {name: getattr(settings, name) for name in _OF_MEASURING}
    told.update(model_prefix=entrant.run.prefix, data_val=images[0], data_val_idx=images[1])
    told["batch_size"] = min(64, settings.batch_size)
    words = flags.arguments_of(config.MeasureSettings, told)
    ended = child.run("imagenet_trainer.comparison.measure", words, interrupts)
    if ended.error:
        raise InputError(ended.error)


def validation_images(
    settings: config.CompareSettings, found: "Sequence[Entrant]", words: Sequence[str]
) -> Tuple[str, str]:
    """--data-val and --data-val-idx that all are asked about: the flag's, or the first run's."""
    from imagenet_trainer.eval.evaluator import own_images

    first = found[0]
    if first.settings is not None:
        return first.settings.data_val, first.settings.data_val_idx
    if flags.is_given("data_val", words):
        return settings.data_val, settings.data_val_idx
    return own_images(first.run)


def line(entry: "Entry") -> str:
    """What is printed of a network."""
    timing = entry.timings[0]
    return (
        f"rank-1 {100 * entry.rank1:.1f} % after epoch {entry.judged}, {timing.median:.2f} ms a "
        f"image, {entry.parameters:,} parameters"
    )


def report(
    settings: config.CompareSettings,
    words: Sequence[str],
    standing: Standing,
    waiting: "Sequence[Entrant]",
) -> str:
    """Write it as far as the comparison has come; the page's path."""
    from imagenet_trainer.comparison.page import Contest, write

    names = [one.name for one in standing.entries]
    facts = [("validation images", standing.images)]
    if settings.networks:
        facts.insert(0, ("training images", settings.data_train))
        facts.append(("flags of all trainings", shlex.join(words) or "none"))
    own = [f"{one.name}: {one.flags}" for one in standing.entries if one.flags]
    facts += [("flags of its own", text) for text in own]
    title = settings.title or f"Comparison of {', '.join(names[:6])}{' ...' * (len(names) > 6)}"
    contest = Contest(
        title, facts, standing.entries, standing.failed, [one.name for one in waiting]
    )
    return str(write(contest, settings.output))


def hold(settings: config.CompareSettings, words: Sequence[str]) -> Tuple[Standing, int]:
    """The whole comparison, and its exit code: that of a signal, or 1 if a network failed."""
    from imagenet_trainer.comparison.analysis import advice
    from imagenet_trainer.system.interrupts import Interrupts

    with Interrupts() as interrupts:
        standing = compare(settings, words, interrupts)
        if interrupts:
            log("interrupted; run the same command to continue")
            return standing, interrupts.exit_code
    for one in advice(standing.entries):
        print(f"{one.wish}: {one.name} ({one.reason})")
    print(f"{standing.report} shows the rest")
    return standing, 1 if standing.failed else 0
