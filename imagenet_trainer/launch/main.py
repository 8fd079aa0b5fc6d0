# PYTHON_ARGCOMPLETE_OK
"""Start workers on one machine or several: python tools/launch.py -n 4 -H hosts COMMAND..."""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import List, Optional, Sequence, Tuple

from imagenet_trainer.config import FitSettings, flags, layers
from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError, run_command

_DESCRIPTION = (
    "Start the workers, servers and scheduler of a distributed training on one machine or "
    "several, watch them, and restart all from the last checkpoint when one dies. The command "
    "comes last."
)


def split_command(argv: Sequence[str]) -> Tuple[List[str], List[str]]:
    """Split into the launcher's flags and the command, which starts at the first non-flag word."""
    parser = flags.parser_of(LaunchSettings, "launch", _DESCRIPTION)
    takes_value = {
        name: action.nargs != 0 for action in parser._actions for name in action.option_strings
    }
    position = 0
    while position < len(argv):
        word = argv[position]
        if word == "--":
            return list(argv[:position]), list(argv[position + 1 :])
        if not word.startswith("-"):
            break
        position += 2 if takes_value.get(word, False) else 1
    return list(argv[:position]), list(argv[position:])


def check_flags(command: Sequence[str]) -> None:
    """Refuse wrong flags of `fit` here, in one line, instead of once in every worker."""
    words = list(command)
    if words[1:3] == ["-m", "imagenet_trainer.fit"]:
        flags.parse(FitSettings, layers.expanded(words[3:]), "fit", "")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line."""
    own, command = split_command(sys.argv[1:] if argv is None else argv)
    settings = flags.parse(LaunchSettings, own, "launch", _DESCRIPTION)

    def body() -> int:
        if not command:
            raise InputError(
                "no command; write it after the flags, for example: python -m "
                "imagenet_trainer.fit ... --kv-store dist_sync"
            )
        check_flags(command)
        from imagenet_trainer.engines.choice import check_mxnet, check_torch
        from imagenet_trainer.launch import ineffective, launcher, torchrun

        if not settings.dry_run:
            check = check_torch if settings.engine == "torch" else check_mxnet
            check()  # at once, and MXNet's scheduler runs here
        chosen = launcher.chosen_launcher(settings)
        ineffective.check(settings, chosen)
        if ineffective.uses_torchrun(settings, chosen):
            return torchrun.launch(settings, command)
        return launcher.launch(settings, chosen, command)

    return run_command("launch", body)


if __name__ == "__main__":
    sys.exit(main())
