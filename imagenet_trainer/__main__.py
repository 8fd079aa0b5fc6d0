"""Print the commands: python -m imagenet_trainer"""

import imagenet_trainer.system.interruptible  # noqa: F401

# isort: split
import sys
from typing import Optional, Sequence

from imagenet_trainer import __doc__ as about
from imagenet_trainer import __version__
from imagenet_trainer.errors import InputError, run_command

# Script of an installation, the same in a checkout, what it does.
_COMMANDS = (
    ("imagenet-im2rec", "python tools/im2rec.py", "pack images into RecordIO shards"),
    ("imagenet-lists", "python tools/imagenet.py", "lists for the tar files of image-net.org"),
    ("imagenet-explore", "python tools/explore.py", "look at images before training"),
    ("imagenet-fit", "python -m imagenet_trainer.fit", "train a network"),
    ("imagenet-launch", "python tools/launch.py", "start the workers of a distributed training"),
    ("imagenet-evaluate", "python -m imagenet_trainer.evaluate", "accuracy, confusion, report"),
    ("imagenet-predict", "python -m imagenet_trainer.predict", "classify images"),
    ("imagenet-compare", "python -m imagenet_trainer.compare", "train and compare networks"),
    ("imagenet-published", "python -m imagenet_trainer.published", "networks trained by others"),
    ("imagenet-export", "python -m imagenet_trainer.export", "networks for other programs"),
    ("imagenet-benchmark", "python -m imagenet_trainer.benchmark", "measure speed"),
    ("imagenet-doctor", "python -m imagenet_trainer.doctor", "check this machine"),
)


def _way_out(word: str) -> str:
    """What to run in place of this word."""
    for script, command, _ in _COMMANDS:
        if word == script[len("imagenet-") :]:
            return f"is a command of its own; run {command}"
    return "no such command; without an argument this prints all of them"


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line."""
    words = sys.argv[1:] if argv is None else list(argv)

    def body() -> None:
        if words == ["--version"]:
            print(f"imagenet-trainer {__version__}")
            return
        if words and words[0] not in ("-h", "--help"):
            raise InputError(f"{words[0]}: {_way_out(words[0])}")
        print(f"imagenet-trainer {__version__}. {(about or '').strip()}\n")
        for script, module, does in _COMMANDS:
            print(f"{script:20} {module:38} {does}")
        print("\nEach has --help and --version.")

    return run_command("imagenet_trainer", body)


if __name__ == "__main__":
    sys.exit(main())
