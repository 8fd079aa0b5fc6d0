"""Weights & Biases: --track wandb. WANDB_PROJECT, WANDB_MODE and its other variables apply."""

import os
from typing import Any, Mapping

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.tracking import PROJECT, Tracked

_EXIT_CODES = {"finished": 0, "interrupted": 255}


class WandbRun:
    """A run of Weights & Biases; its axis is the number of the update."""

    def __init__(self, run: Any) -> None:
        self._run, self.run_id = run, str(run.id)
        run.define_metric("update")
        run.define_metric("*", step_metric="update")

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Record values after an update."""
        self._run.log({**values, "update": update})

    def finish(self, how: str, update: int, result: Mapping[str, Any]) -> None:
        """End the run, with the last scores in its summary."""
        self._run.summary.update({**result, "how": how})
        self._run.finish(exit_code=_EXIT_CODES.get(how, 1))


def open_run(run: Tracked) -> WandbRun:
    """Open a run, or continue it. Raises InputError if nobody is logged in."""
    import wandb

    quiet = wandb.Settings(silent=True, console="off")
    mode = wandb.setup(settings=quiet).settings.mode
    # `init` would ask for a key on a terminal.
    if mode == "online" and not wandb.login(prompt=False):
        raise InputError("not logged in; run wandb login, or set WANDB_MODE=offline")
    return WandbRun(
        wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=os.environ.get("WANDB_NAME") or run.name,
            dir=os.environ.get("WANDB_DIR") or str(run.folder),
            id=run.run_id, resume="allow", config=dict(run.settings), settings=quiet,
        )
    )  # fmt: skip
