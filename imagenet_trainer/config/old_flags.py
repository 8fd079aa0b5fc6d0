"""Values of MXNet's example scripts that have another form here."""

import re
from typing import List, Sequence

from imagenet_trainer.errors import InputError

_STEPS = "--lr-step-epochs"
_POWER = re.compile(r"pow[- ]*(\d+\.?\d*|\.\d+)")


def translated(argv: Sequence[str]) -> List[str]:
    """A command line of fit with `--lr-step-epochs pow2` as `--lr-schedule poly --lr-power 2`.

    Raises InputError if it also names a schedule.
    """
    words: List[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        flag, is_joined, value = word.partition("=")
        found = None
        if flag == _STEPS and (is_joined or rest):
            found = _POWER.fullmatch(value if is_joined else rest[0])
        if found is None:
            words.append(word)
            continue
        if not is_joined:
            rest.pop(0)
        for other in ("--lr-schedule", "--lr-power", "--lr-step-every"):
            if any(one.partition("=")[0] == other for one in argv):
                raise InputError(
                    f"{_STEPS} {found[0]}: is --lr-schedule poly --lr-power {found[1]}, but "
                    f"{other} is given too; omit one of them"
                )
        words += ["--lr-schedule=poly", f"--lr-power={found[1]}"]
    return words
