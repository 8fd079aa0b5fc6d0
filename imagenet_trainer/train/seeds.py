"""The same training with several seeds (--seeds): mean and deviation of its scores."""

import statistics
import sys
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence, TextIO

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.choice import is_torch_worker
from imagenet_trainer.errors import InputError, exit_code_of
from imagenet_trainer.launch.supervise import SIGNALLED
from imagenet_trainer.metrics.counts import MEAN_AVERAGE_PRECISION
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.train import when_done
from imagenet_trainer.train.early_stopping import best_of
from imagenet_trainer.train.loop import train
from imagenet_trainer.train.setup import run_for

_PRECISION = f"val_{MEAN_AVERAGE_PRECISION}"  # of trainings with --multi-label only
_SCORES = (
    "val_rank1", "val_rank5", "val_loss", _PRECISION, "minival_rank1", "minival_loss",
    f"minival_{MEAN_AVERAGE_PRECISION}",
)  # fmt: skip


def train_seeds(settings: FitSettings, argv: Optional[Sequence[str]] = None) -> int:
    """Train with each seed, one after the other; print and write the report; the exit code.

    Runs that are finished are not trained again. `argv` is as in `train`.
    """
    if settings.kv_store.startswith("dist") or is_torch_worker():
        raise InputError(
            f"--seeds {settings.seeds}: trains one run after the other in one process; with "
            "several workers start one training for each --seed"
        )
    when_done.check_command(settings.when_done)
    base = run_for(settings)
    output = _output(settings)
    runs = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        run = Run(str(base.folder / f"seed-{seed}" / base.name))
        print(f"--seeds {settings.seeds}: seed {seed}, {run.prefix}", file=output, flush=True)
        code = _train_one(settings, seed, run, argv)
        if code:
            return code
        runs.append((seed, run))
    report = report_of([_scores(seed, run) for seed, run in runs])
    path = base.folder / "seeds.json"
    write_json(path, report)
    print("\n".join([*table(report), f"written: {path}"]), file=output, flush=True)
    if settings.when_done:
        print(when_done.run(settings.when_done, base.prefix, "finished", 0), file=output)
    return 0


def _train_one(settings: FitSettings, seed: int, run: Run, argv: Optional[Sequence[str]]) -> int:
    """Train with one seed; the exit code.

    --when-done follows all seeds, and one that failed: not after a signal, nor if flags were
    refused before the training began.
    """
    more = ["--seeds=1", f"--seed={seed}", f"--model-prefix={run.prefix}", "--when-done="]
    one = replace(settings, seeds=1, seed=seed, model_prefix=run.prefix, when_done=())
    code, before = 1, _events(run)
    try:
        code = train(one, None if argv is None else [*argv, *more])
    except BaseException as error:
        code = exit_code_of(error)
        raise
    finally:
        if settings.when_done and code not in (0, *SIGNALLED) and _events(run) != before:
            line = when_done.run(settings.when_done, run_for(settings).prefix, "failed", code)
            print(line, file=_output(settings))
    return code


def _output(settings: FitSettings) -> TextIO:
    return sys.stderr if settings.json else sys.stdout


def _events(run: Run) -> int:
    """The length of events.jsonl, which grows when a training begins."""
    return run.events_path.stat().st_size if run.events_path.exists() else 0


def _scores(seed: int, run: Run) -> Dict[str, Any]:
    """The scores of a run after its last epoch, and after its best one."""
    history = run.read_history()
    if not history:
        raise InputError(
            f"{run.history_path}: has no scores of the training, which is finished; restore the "
            f"file, or remove {run.folder}, and run the same command again"
        )
    best, last = best_of(history)
    rows = {int(row["epoch"]): row for row in history}
    named = {
        when: {name: float(rows[epoch][name]) for name in _SCORES if rows[epoch].get(name)}
        for when, epoch in (("last", last), ("best", best))
    }
    return {"seed": seed, "prefix": run.prefix, "last_epoch": last, "best_epoch": best, **named}


def report_of(runs: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
    """Mean and sample standard deviation of each score over the runs, by `last` and `best`."""
    summary: Dict[str, Any] = {}
    for when in ("last", "best"):
        summary[when] = {}
        for name in runs[0][when]:
            values = [one[when][name] for one in runs]
            deviation = statistics.stdev(values) if len(values) > 1 else None
            summary[when][name] = {"mean": statistics.fmean(values), "deviation": deviation}
    return {"runs": list(runs), **summary}


def table(report: Dict[str, Any]) -> List[str]:
    """The report as text."""
    lines = [f"{'':<10}{'last epoch':<28}best epoch"]
    score = _PRECISION if _PRECISION in report["last"] else "val_rank1"
    for one in report["runs"]:
        cells = [
            _cell(f"{one[f'{when}_epoch']}:", one[when][score], one[when]["val_loss"])
            for when in ("last", "best")
        ]
        lines.append(f"{'seed ' + str(one['seed']):<10}{cells[0]:<28}{cells[1]}")
    for name in ("mean", "deviation"):
        cells = [
            _cell("", *(report[when][one][name] for one in (score, "val_loss")))
            for when in ("last", "best")
        ]
        lines.append(f"{name:<10}{cells[0]:<28}{cells[1]}")
    return lines


def _cell(epoch: str, rank1: float, loss: float) -> str:
    return f"{epoch:<5}{100 * rank1:6.2f} %  loss {loss:.4f}"
