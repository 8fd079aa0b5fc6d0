"""Parameters that others published: python -m imagenet_trainer.published --name resnet-50

MXNet's own checkpoints and those of GluonCV's model zoo become a run of this program: symbol,
parameters, and how images are prepared for them. `evaluate`, `predict` and `fit --load-epoch 0`
work on it as on any other. Files are looked for in one folder and never fetched.
"""

import sys
from typing import TYPE_CHECKING, List, Optional, Sequence

import imagenet_trainer.system.interruptible  # noqa: F401
from imagenet_trainer import config
from imagenet_trainer.config import flags
from imagenet_trainer.convert.published import (
    CHECKPOINTS,
    folder,
    load,
    place,
)
from imagenet_trainer.errors import InputError, run_command

if TYPE_CHECKING:
    pass


# --- command line ------------------------------------------------------------------------------


def export(settings: config.PublishedSettings) -> str:
    """Write the checkpoint `name` as epoch 0 of a run; return the run's prefix."""
    import symbols
    from imagenet_trainer.runs.checkpoint import Checkpoint as Saved
    from imagenet_trainer.runs.checkpoint import Progress
    from imagenet_trainer.runs.run import Run

    found = load(settings.name)
    word = settings.name.replace("/", "-")
    run = Run(settings.model_prefix or f"runs/published-{word}/model")
    if run.epochs():
        raise InputError(
            f"{run.folder}: holds checkpoints already; choose another place with --model-prefix"
        )
    run.open_for_training()
    try:
        size = found.preprocessing.image_shape
        symbol = symbols.get_symbol(found.network, len(found.classes), size)
        run.write_symbol(symbol.tojson())
        saved = Saved(found.arg, found.aux, Progress(), {}, found.preprocessing, found.classes)
        run.save(saved, 0)
    finally:
        run.close()
    return run.prefix


def table() -> List[str]:
    """A line for each of MXNet's checkpoints: network, published scores, whether it is here."""
    lines = [f"{'name':34} {'network':18} {'top-1':>6} {'top-5':>6}  file in {folder()}"]
    for name, checkpoint in CHECKPOINTS.items():
        path = place(name, checkpoint)
        scores = [f"{score:6.2f}" if score else "     -" for score in checkpoint.scores]
        here = path.name if path else "not there"
        lines.append(f"{name:34} {checkpoint.network:18} {' '.join(scores)}  {here}")
    return lines


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    settings = flags.parse(
        config.PublishedSettings, argv, "published", "Make a run of a published checkpoint."
    )

    def body() -> None:
        if settings.name:
            prefix = export(settings)
            print(f"{settings.name}: epoch 0 of {prefix}; use it with --model-prefix {prefix}")
        else:
            print("\n".join(table()))

    return run_command("published", body)


if __name__ == "__main__":
    sys.exit(main())
