"""Score trained networks: python -m imagenet_trainer.evaluate --epochs all --gif

Every number that is published of a classifier, with its 95 % interval, each image counted
once; the top-5 confusion matrix as counts, as an image for each epoch, and as a GIF over the
epochs; two networks compared.
"""

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence, Tuple

import imagenet_trainer.system.interruptible  # noqa: F401
from imagenet_trainer import config
from imagenet_trainer.config import flags, values
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import InputError, print_message, run_command

log = partial(print_message, "evaluate")

if TYPE_CHECKING:
    from imagenet_trainer.eval.evaluator import EpochResult
    from imagenet_trainer.runs.run import Run


def evaluate(settings: config.EvaluateSettings) -> Dict[int, Dict[str, Any]]:
    """Score the epochs asked for; return the numbers of each, as written to evaluation.json.

    An epoch that was scored before, with the same parameters and images, is not scored again.
    """
    from imagenet_trainer.eval.evaluator import Evaluator
    from imagenet_trainer.eval.outputs import present, refuse_early
    from imagenet_trainer.metrics.evaluation import table
    from imagenet_trainer.runs.run import Run, newest_run

    run = Run(settings.model_prefix) if settings.model_prefix else newest_run()
    scorer = Evaluator(settings, run, chosen_epochs(run, settings.epochs), log)
    refuse_early(settings, scorer.dataset.classes)
    scored = []
    for one in scorer.results():
        print(line(one, settings.top_k), flush=True)
        scored.append(one)
    print(table(scored[-1].metrics, settings.top_k))
    for text in present(settings, scorer, scored):
        print(text, flush=True)
    return {one.epoch: one.metrics for one in scored}


def compare(settings: config.EvaluateSettings) -> Dict[str, Any]:
    """Score two checkpoints on the same images; say which one is better, and where."""
    from imagenet_trainer.eval.evaluator import Evaluator, own_validation_set
    from imagenet_trainer.eval.paired import compared, opponents, paths_of, told
    from imagenet_trainer.runs.run import Run, newest_run

    def default() -> "Run":
        return Run(settings.model_prefix) if settings.model_prefix else newest_run()

    default_settings = config.EvaluateSettings()
    for name in ("epochs", "gif", "video", "report", "order"):
        if getattr(settings, name) != getattr(default_settings, name):
            reason = "names its two epochs itself" if name == "epochs" else "draws nothing"
            raise InputError(f"--{name}: --compare {reason}; leave one of both away")
    (first, _), (second, _) = sides = opponents(settings.compare, default)
    if not settings.data_val and first.prefix != second.prefix:
        path, index = own_validation_set(first)  # both are asked about the first one's images
        settings = replace(settings, data_val=path, data_val_idx=settings.data_val_idx or index)
    # All are looked for before the first is scored.
    chosen = [chosen_epochs(run, None if epoch is None else (epoch,)) for run, epoch in sides]
    scored = []
    for (run, _), epochs in zip(sides, chosen):
        (one,) = Evaluator(settings, run, epochs, log).results()
        print(f"{run.prefix} {line(one, settings.top_k)}", flush=True)
        scored.append(one)
    result = compared((first, scored[0]), (second, scored[1]))
    first.write_json(paths_of(result, first), result)
    print(told(result))
    return result


def chosen_epochs(run: "Run", asked: Optional[Tuple[int, ...]]) -> Tuple[int, ...]:
    """The epochs to score: all of `asked`, every one of ours for (), the newest for None."""
    from imagenet_trainer.runs.retention import best_epoch

    found = run.epochs()
    if not found:
        run.refuse_misnamed()
        raise InputError(
            f"{run.prefix}: no finished epoch in {run.folder}; train it first with "
            "python -m imagenet_trainer.fit, or name a run with --model-prefix"
        )
    if asked == (values.BEST,):
        asked = (best_epoch(run),)
    for epoch in asked or ():
        if epoch not in found:
            run.load(epoch)  # says that it is not there, and which are
    if asked == ():
        # A run continued from another program's checkpoint has that one too.
        asked = tuple(epoch for epoch in found if run.state_path(epoch).exists()) or tuple(found)
    return asked or tuple(found[-1:])


def line(one: "EpochResult", top_k: Sequence[int] = ()) -> str:
    """What is printed of an epoch."""
    from imagenet_trainer.metrics.evaluation import rank_names

    numbers = one.metrics
    ranks = rank_names(top_k)
    shares = "  ".join(f"rank-{key[4:]} {100 * numbers[key]:.2f} %" for key in ranks)
    return (
        f"epoch {one.epoch}{one.name and ' ' + one.name}: {shares}  loss {numbers['loss']:.4f}"
        f"  ({numbers['images']} images)"
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.EvaluateSettings, argv, "evaluate", "Score trained networks on validation images."
    )

    def body() -> None:
        (compare if settings.compare else evaluate)(settings)

    return run_command("evaluate", body)


def call(values: Mapping[str, Any]) -> Any:
    """From Python: `evaluate(epochs="all")` returns the numbers of each epoch by its number."""
    return evaluate(flags.settings_of(config.EvaluateSettings, values))


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
