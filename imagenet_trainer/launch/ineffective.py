"""Flags that the chosen way to start workers does not read."""

from typing import Sequence, Tuple

from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.errors import InputError

# torchrun starts processes of this machine only, in this folder, by this interpreter. It finds a
# port by itself, and gives workers 30 seconds after a signal.
_NOT_OF_TORCHRUN = (
    "port", "grace", "host_address", "interface", "directory", "python", "env", "requeue",
)  # fmt: skip


def uses_torchrun(settings: LaunchSettings, launcher: str) -> bool:
    """Whether torchrun starts the workers: those of PyTorch on this machine alone."""
    return settings.engine == "torch" and launcher == "local" and settings.nodes == 1


def check(settings: LaunchSettings, launcher: str) -> None:
    """Raise InputError for a flag that has no effect with this launcher."""
    cases: Sequence[Tuple[Sequence[str], bool, str]] = (
        (("num_servers",), settings.engine == "torch", "--engine torch, which has no servers"),
        (
            _NOT_OF_TORCHRUN,
            uses_torchrun(settings, launcher),
            "--engine torch on this machine alone, where torchrun starts the workers",
        ),
        (("ssh",), launcher != "ssh", f"--launcher {launcher}"),
        (("options",), launcher not in ("mpi", "slurm"), f"--launcher {launcher}"),
    )
    for names, applies, why in cases:
        for name in names:
            if applies and is_set(settings, name):
                raise InputError(f"{flag_with_value(settings, name)}: has no meaning with {why}; "
                                 "omit it")  # fmt: skip
