# PYTHON_ARGCOMPLETE_OK
"""Compare networks: python -m imagenet_trainer.compare --networks resnet-18,mobilenet,densenet121

Trains each network on the same images with the same flags, or takes finished runs. Measures cost
and errors of each and writes one report. The same command continues an interrupted comparison.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from dataclasses import asdict, fields
from typing import Any, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags, layers
from imagenet_trainer.config.python_api import command_function
from imagenet_trainer.config.python_values import arguments_of, settings_of
from imagenet_trainer.config.results import CompareResult
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    about = "Train networks on the same images, or take finished runs, and compare them."

    def body() -> int:
        settings = flags.parse(config.CompareSettings, layers.expanded(arguments), "compare", about)
        if settings.first_difference:
            from imagenet_trainer.comparison.first_difference import print_first_difference

            return print_first_difference(settings)
        from imagenet_trainer.comparison.compare import compare_networks

        return compare_networks(
            settings, flags.unknown_arguments(config.ComparisonSettings, arguments)
        )[1]

    return run_command("compare", body)


@command_function(config.CompareSettings)
def call(**values: Any) -> CompareResult:
    """Train networks on the same images, or take finished runs, and compare them.

    Raises InputError for what the command line refuses, and KeyboardInterrupt if a signal ended
    the comparison; trainings are saved.
    """
    from imagenet_trainer.comparison.analysis import recommendations
    from imagenet_trainer.comparison.compare import compare_networks
    from imagenet_trainer.comparison.first_difference import first_difference
    from imagenet_trainer.comparison.tables import as_row

    settings = settings_of(config.CompareSettings, values, layers.expanded)
    if settings.first_difference:
        outcome = first_difference(settings)
        found = asdict(outcome.difference) if outcome.difference else None
        return CompareResult(first_difference=found, equal=outcome.equal, settings=outcome.settings)
    own = {one.name for one in fields(config.ComparisonSettings)}
    rest = {name: value for name, value in values.items() if name not in own}
    state, code = compare_networks(settings, arguments_of(config.FitSettings, rest))
    if code > 1:
        raise KeyboardInterrupt
    return CompareResult(
        state.report,
        {one.name: as_row(one) for one in state.results},
        {one.purpose: one.network for one in recommendations(state.results)},
        state.failed,
    )


if __name__ == "__main__":
    sys.exit(main())
