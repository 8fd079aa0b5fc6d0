"""Compare networks: python -m imagenet_trainer.compare --networks resnet-18,mobilenet,densenet121

Trains each on the same images with the same flags, or takes finished runs; measures what each
costs and what it gets wrong; leaves one report to decide from. Run again, the same command
continues where it was.
"""

import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.comparison.contest import hold
from imagenet_trainer.config import flags, recipes
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import run_command

if TYPE_CHECKING:
    pass


# --- one network -------------------------------------------------------------------------------


# --- the report --------------------------------------------------------------------------------


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    words = list(sys.argv[1:] if argv is None else argv)
    about = "Train networks on the same images, or take finished runs, and compare them."

    def body() -> int:
        settings = flags.parse(config.CompareSettings, recipes.expanded(words), "compare", about)
        return hold(settings, flags.unknown_arguments(config.ComparisonSettings, words))[1]

    return run_command("compare", body)


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `compare(networks=["resnet-18", "mobilenet"], lr=0.1)`.

    Returns the path of the `report`; `networks`, the rows of compare.csv by name; `advice`, a
    network for each wish; `failed`, what was left out and why. Raises KeyboardInterrupt when a
    signal ended it; what was trained is saved.
    """
    from imagenet_trainer.comparison.analysis import advice
    from imagenet_trainer.comparison.tables import as_row

    settings = flags.settings_of(config.CompareSettings, values, recipes.expanded)
    own = {one.name for one in fields(config.ComparisonSettings)}
    rest = {name: value for name, value in values.items() if name not in own}
    standing, code = hold(settings, flags.arguments_of(config.FitSettings, rest))
    if code > 1:
        raise KeyboardInterrupt
    return {
        "report": standing.report,
        "networks": {one.name: as_row(one) for one in standing.entries},
        "advice": {one.wish: one.name for one in advice(standing.entries)},
        "failed": standing.failed,
    }


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
