"""What `evaluate` can do: its modes, and which flags go with which of them.

Flags of the network, its preprocessing and classes, of devices, threads and memory go with every
mode. A flag that a mode does not take is refused, instead of changing nothing.
"""

from dataclasses import asdict, fields, replace
from typing import Any, Callable, Dict, FrozenSet, Mapping, NamedTuple, Tuple

from imagenet_trainer.config import (
    DeviceSettings,
    EvaluateSettings,
    FigureSettings,
    PreparationSettings,
)
from imagenet_trainer.config.data import CacheSettings
from imagenet_trainer.config.evaluated import EvaluateFiles, EvaluateResult
from imagenet_trainer.config.flags import flag_of, is_set
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.audit import audit
from imagenet_trainer.eval.calibrate import calibrate, change_of
from imagenet_trainer.eval.corruptions import evaluate_corruptions, write_corruptions
from imagenet_trainer.eval.epochs import compare, evaluate, log, results_folder, select_epochs
from imagenet_trainer.eval.find_preprocessing import find_preprocessing
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.trained import trained_run
from imagenet_trainer.system.block_cache import use_cache


class Mode(NamedTuple):
    """What `evaluate` does instead of evaluating epochs, with the flag of that name."""

    run: Callable[[EvaluateSettings], EvaluateResult]
    takes: FrozenSet[str]  # fields of the settings


def run_mode(settings: EvaluateSettings) -> EvaluateResult:
    """Do what the settings ask for; return the results of it.

    Raises InputError for a flag that has no effect together with the others.
    """
    use_cache(settings.cache_dir, settings.cache_size)
    chosen = next((name for name in MODES if is_set(settings, name)), "")
    _check_flags(settings, chosen)
    return (MODES[chosen].run if chosen else evaluate)(settings)


def _check_flags(settings: EvaluateSettings, chosen: str) -> None:
    """InputError for a flag that the mode does not take, or that needs another one."""
    for field in fields(settings):
        name = field.name
        if not is_set(settings, name) or name == chosen:
            continue
        if chosen and name not in MODES[chosen].takes:
            raise InputError(
                f"{flag_of(name)}: has no effect with {flag_of(chosen)}; omit one of the two"
            )
        for needed in _NEEDS.get(name, ()):
            if not any(is_set(settings, other) for other in needed):
                others = " or ".join(map(flag_of, needed))
                raise InputError(
                    f"{flag_of(name)}: has no effect without {others}; omit it, or add it"
                )


def _find_preprocessing(settings: EvaluateSettings) -> EvaluateResult:
    """The fields of the preprocessing that fits; {} if none does."""
    run = trained_run(settings.model_prefix)
    found = find_preprocessing(settings, run, _single_epoch(settings, run), log)
    return EvaluateResult({}, asdict(found) if found else {}, run.prefix)


def _corruptions(settings: EvaluateSettings) -> EvaluateResult:
    """Rank-1 of `none`, and by strength of each kind of corruption."""
    run = trained_run(settings.model_prefix)
    with results_folder(settings, [run]) as keeps:
        epoch = _single_epoch(settings, run)
        clean, hits, name = evaluate_corruptions(settings, run, epoch, log)
        path = write_corruptions(run, epoch, name, clean, hits) if keeps else None
    results: Dict[str, Any] = {"none": float(clean.mean())}
    for (kind, strength), one in hits.items():
        results.setdefault(kind, {})[strength] = float(one.mean())
    folder, files = run.results if keeps else None, EvaluateFiles(corruptions=path)
    return EvaluateResult({}, results, run.prefix, folder, files)


def _single_epoch(settings: EvaluateSettings, run: Run) -> int:
    """The one epoch that is chosen; InputError for several."""
    epochs = select_epochs(run, settings.epochs)
    if len(epochs) > 1:
        flag = "--corruptions" if settings.corruptions else "--find-preprocessing"
        raise InputError(f"{flag}: takes one epoch; choose it with --epochs")
    return epochs[0]


def _calibrate(settings: EvaluateSettings) -> EvaluateResult:
    """Fit the temperatures, then evaluate without and with them; return the metrics with them."""
    run = trained_run(settings.model_prefix)
    paths = calibrate(settings, run, select_epochs(run, settings.epochs), log)
    before = evaluate(replace(settings, calibrate="", calibrated=False))
    after = evaluate(replace(settings, calibrate="", calibrated=True))
    for epoch, metrics in after.items():
        print(f"epoch {epoch}: calibrated: {change_of(before[epoch], metrics)}")
    epochs = {
        epoch: replace(one, files=replace(one.files, temperature=paths[epoch]))
        for epoch, one in after.epochs.items()
    }
    return replace(after, epochs=epochs, parts=[before])


def _names_of(settings: type) -> FrozenSet[str]:
    return frozenset(field.name for field in fields(settings))


_ALWAYS = (
    _names_of(PreparationSettings) | _names_of(DeviceSettings)
    | _names_of(CacheSettings) | {"batch_size", "data_nthreads", "cache_memory"}
)  # fmt: skip
_RUN = {"model_prefix", "epochs"}
_VIEWS = {"crops", "flip"}
_IMAGES = {
    "data_val", "data_val_idx", "label_index", "real_labels", "labels", "multi_label",
    "restrict_classes",
}  # fmt: skip
_EXPLAIN = {"explain", "explain_nearest", "explain_images", "data_train"}
_FILES = {"output", "again", "save_predictions", "on_bad_record"}

MODES: Mapping[str, Mode] = {
    "find_preprocessing": Mode(_find_preprocessing, _ALWAYS | _RUN | _IMAGES | {"find_images"}),
    "corruptions": Mode(
        _corruptions, _ALWAYS | _RUN | _IMAGES | {"corruption_images", "output"}
    ),
    "audit": Mode(audit, _ALWAYS | _VIEWS | _FILES | {"epochs", "label_index"}),
    "compare": Mode(
        compare,
        _ALWAYS | _VIEWS | _IMAGES | _FILES | (_names_of(FigureSettings) - {"figure_colours"})
        | {"model_prefix", "top_k", "report", "open", "thumbnails"},
    ),
    # It evaluates with the other flags, without and with the temperature.
    "calibrate": Mode(
        _calibrate,
        _names_of(EvaluateSettings) - {"calibrated", "crops", "flip", "calibrate"} - _EXPLAIN,
    ),
}  # fmt: skip
"""The modes by the flag that selects them; the first one that is given is meant."""

_NEEDS: Mapping[str, Tuple[Tuple[str, ...], ...]] = {
    "find_images": (("find_preprocessing",),),
    "corruption_images": (("corruptions",),),
    "gif_axes": (("gif", "video"),),
    "open": (("report",),),
    "thumbnails": (("report",),),
    "map": (("features",), ("report",)),
    **dict.fromkeys(_EXPLAIN - {"explain"}, (("explain",),)),
}
"""Flags that only change what others do: one of each group."""
