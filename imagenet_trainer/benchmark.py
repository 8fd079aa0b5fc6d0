# PYTHON_ARGCOMPLETE_OK
"""Measure speed on this machine: python -m imagenet_trainer.benchmark KIND; --help lists the kinds.

Kinds for which other tools exist measure those in the same run and print ratios. `bottleneck`
takes the flags of a training, and reports what limits its speed and what to change.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import importlib
import sys
from dataclasses import fields
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from imagenet_trainer import config
from imagenet_trainer.benchmarks import figures
from imagenet_trainer.config import flags, layers
from imagenet_trainer.config.measured import BenchmarkResult, BottleneckResult
from imagenet_trainer.config.python_api import command_function, with_flags
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.errors import InputError, run_command
from imagenet_trainer.system.files import write_json


class Kind(NamedTuple):
    """A function of imagenet_trainer.benchmarks, and the settings that are its arguments."""

    module: str
    arguments: Tuple[str, ...]
    images: Optional[int] = None  # default of --images
    function: str = "run"
    engines: Tuple[str, ...] = ()  # that must be installed


KINDS: Dict[str, Kind] = {
    "loader": Kind("loader", ("images", "rounds", "threads", "lock"), 1000),
    "checks": Kind("checks", ("images", "rounds"), 500),
    "train": Kind("train", ("images", "rounds"), 160, engines=("mxnet",)),
    "checkpoint": Kind("checkpoint", ("rounds",)),
    "pack": Kind("pack", ("images", "rounds", "threads"), 2000, engines=("mxnet",)),
    "picture": Kind("drawing", ("keep",)),
    "reading": Kind("reading", ("images", "rounds", "threads"), 8000),
    "many-classes": Kind("many_classes", ("images",), 500_000),
    "numbers": Kind("evaluation", ("images", "rounds"), 50_000, "numbers"),
    "evaluate": Kind("evaluation", ("images", "rounds"), 160, "forward"),
    "parity": Kind("parity", ("network",), engines=("mxnet", "torch")),
}

# Flags that measure something else, and the kind that they are of.
INSTEAD: Dict[str, Tuple[str, Kind]] = {
    "against": (
        "loader", Kind("loader_against", ("against", "images", "rounds", "threads"), 2000)
    ),
    "beside": ("train", Kind("beside", ("beside", "rounds"), engines=("mxnet",))),
    "latency": ("reading", Kind("remote_reading", ("latency", "images", "threads"), 8192)),
}  # fmt: skip


@command_function(config.BenchmarkSettings)
def call(**values: Any) -> BenchmarkResult:
    """Measure speed against other tools, and print the results.

    Raises InputError for what the command line refuses.
    """
    if values.get("kind") == "bottleneck":
        raise InputError("kind bottleneck: is a function, benchmark.bottleneck; call that")
    settings = settings_of(config.BenchmarkSettings, values)
    return BenchmarkResult(settings.kind, measure(settings))


@with_flags(config.BottleneckSettings)
def bottleneck(**values: Any) -> BottleneckResult:
    """Report where the time of a training with these flags goes, and what to change.

    Raises InputError for what the command line refuses.
    """
    return _bottleneck(settings_of(config.BottleneckSettings, values, layers.expanded))


def measure(settings: config.BenchmarkSettings) -> figures.Figures:
    """Run the chosen benchmark."""
    kind = KINDS[settings.kind]
    for flag, (owner, instead) in INSTEAD.items():
        if getattr(settings, flag) and settings.kind == owner:
            kind = instead
    _check_flags(settings, kind)
    if kind.engines:
        _check_engines(settings.kind, kind.engines)
    values = {**vars(settings), "images": settings.images or kind.images}
    figures.check_json(settings.json)
    module = importlib.import_module(f"imagenet_trainer.benchmarks.{kind.module}")
    measured: figures.Figures = getattr(module, kind.function)(
        *(values[name] for name in kind.arguments)
    )
    _save(settings.json, measured)
    return measured


def _check_flags(settings: config.BenchmarkSettings, kind: Kind) -> None:
    """Raise InputError for a flag that differs from its default and that the kind does not take."""
    for field in fields(settings):
        is_taken = field.name in (*kind.arguments, "kind", "json")
        if is_taken or not flags.is_set(settings, field.name):
            continue
        owners = [name for name, one in KINDS.items() if field.name in one.arguments]
        owners += [f"{owner} --{flag}" for flag, (owner, one) in INSTEAD.items()
                   if field.name in one.arguments]  # fmt: skip
        given = [f"--{flag}" for flag, (_, one) in INSTEAD.items() if one is kind]
        raise InputError(
            f"{flags.flag_of(field.name)}: has no effect on {' '.join([settings.kind, *given])}, "
            f"only on {', '.join(owners)}; omit it"
        )


def _check_engines(kind: str, engines: Sequence[str]) -> None:
    """Raise InputError if one of these engines is not installed."""
    from imagenet_trainer.engines.choice import check_torch
    from imagenet_trainer.system.mxnet_import import installation_problem
    from imagenet_trainer.system.wheels import how_to_install_mxnet

    problem = installation_problem() if "mxnet" in engines else None
    if problem:
        raise InputError(f"{kind}: {problem}; {how_to_install_mxnet()}")
    if "torch" in engines:
        check_torch()


def _check_words(words: Sequence[str]) -> None:
    """Raise InputError for kinds that have flags of their own, whatever these are."""
    if words[:1] == ["gpu"]:
        raise InputError(
            "gpu: is not a part of the package; in the checkout run tools/gpu_study.sh, or on a "
            "machine that is set up: python tools/gpu_study.py"
        )
    if "bottleneck" in words and not {*words} & {*KINDS}:
        raise InputError("bottleneck: must come before all flags, which are those of fit")


def _parse_bottleneck(argv: Sequence[str]) -> None:
    _bottleneck(flags.parse(
        config.BottleneckSettings, layers.expanded(argv), "benchmark bottleneck",
        "Report where the time of a training with these flags goes, and what to change.",
    ))  # fmt: skip


def _bottleneck(settings: config.BottleneckSettings) -> BottleneckResult:
    from imagenet_trainer.benchmarks.bottleneck import run

    figures.check_json(settings.json)
    found = run(settings)
    measured = vars(found.profile)
    _save(settings.json, {name: one for name, one in measured.items()
                          if isinstance(one, (int, float))})  # fmt: skip
    return found


def _save(path: str, measured: figures.Figures) -> None:
    if path:
        write_json(path, measured)
        print(f"numbers: {path}")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] == ["bottleneck"]:  # its flags are those of fit
        return run_command("benchmark bottleneck", lambda: _parse_bottleneck(words[1:]))

    def body() -> None:
        _check_words(words)
        about = "Measure speed against other tools."
        measure(flags.parse(config.BenchmarkSettings, words, "benchmark", about))

    return run_command("benchmark", body)


if __name__ == "__main__":
    sys.exit(main())
