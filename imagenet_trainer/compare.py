# PYTHON_ARGCOMPLETE_OK
"""Compare networks: python -m imagenet_trainer.compare --networks resnet-18,mobilenet,densenet121

Trains each network on the same images with the same flags, or takes finished runs. Measures cost
and errors of each and writes one report. The same command continues an interrupted comparison.
"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from dataclasses import asdict, fields
from typing import Any, Dict, Mapping, Optional, Sequence

from imagenet_trainer import config
from imagenet_trainer.config import flags, recipes
from imagenet_trainer.config.python_api import callable_module
from imagenet_trainer.errors import run_command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """The command line."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    about = "Train networks on the same images, or take finished runs, and compare them."

    def body() -> int:
        settings = flags.parse(
            config.CompareSettings, recipes.expanded(arguments), "compare", about
        )
        if settings.first_difference:
            from imagenet_trainer.comparison.first_difference import print_first_difference

            return print_first_difference(settings.runs)
        from imagenet_trainer.comparison.compare import compare_networks

        return compare_networks(
            settings, flags.unknown_arguments(config.ComparisonSettings, arguments)
        )[1]

    return run_command("compare", body)


def call(values: Mapping[str, Any]) -> Dict[str, Any]:
    """From Python: `compare(networks=["resnet-18", "mobilenet"], lr=0.1)`.

    Returns a dict: `report`, the path of the page; `networks`, the rows of compare.csv by name;
    `advice`, the recommended network for each purpose; `failed`, excluded networks and why. Raises
    KeyboardInterrupt if a signal ended the comparison; trainings are saved.

    With `first_difference` the dict has `first_difference`, a dict or None, `equal` and `settings`,
    as in `comparison.first_difference.Outcome`.
    """
    from imagenet_trainer.comparison.analysis import recommendations
    from imagenet_trainer.comparison.compare import compare_networks
    from imagenet_trainer.comparison.first_difference import compare_runs
    from imagenet_trainer.comparison.tables import as_row

    settings = flags.settings_of(config.CompareSettings, values, recipes.expanded)
    if settings.first_difference:
        outcome = compare_runs(settings.runs)
        found = asdict(outcome.difference) if outcome.difference else None
        return {"first_difference": found, "equal": outcome.equal, "settings": outcome.settings}
    own = {one.name for one in fields(config.ComparisonSettings)}
    rest = {name: value for name, value in values.items() if name not in own}
    state, code = compare_networks(settings, flags.arguments_of(config.FitSettings, rest))
    if code > 1:
        raise KeyboardInterrupt
    return {
        "report": state.report,
        "networks": {one.name: as_row(one) for one in state.results},
        "advice": {one.purpose: one.network for one in recommendations(state.results)},
        "failed": state.failed,
    }


callable_module(__name__)
if __name__ == "__main__":
    sys.exit(main())
