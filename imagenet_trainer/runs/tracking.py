"""Tracking services (--track wandb, mlflow), which get the scalars of TensorBoard.

A service is called in a thread of its own: training never waits for it. If it fails, the log says
so once, and the training continues without it. `tracking.json` in the folder of a run has the id of
its tracked run, so that a resumed run continues it; addresses and keys are never written.
"""

import importlib.util
import json
import math
import queue
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Protocol, Tuple

from imagenet_trainer.config.plugins import one_line
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import write_json
from imagenet_trainer.system.wheels import pip_install
from imagenet_trainer.text import tag_of

PROJECT = "imagenet-trainer"
"""The name of the project or experiment, unless the service's own variable has another."""
SERVICES = ("wandb", "mlflow")
_LAST_SECONDS = 60.0  # that the end of a training waits for a service
_SIGNAL_SECONDS = 10.0  # the same after a signal, when a machine may be about to stop
_MOST_WAITING = 10_000  # points that a service has not taken yet


class Service(Protocol):
    """A tracked run that is open. `run_id` continues it later."""

    run_id: str

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Record values by their tags after an update; none is nan."""

    def finish(self, how: str, update: int, result: Mapping[str, Any]) -> None:
        """End it: `how` is finished, interrupted or failed; `result` are the last scores."""


@dataclass(frozen=True)
class Tracked:
    """What a service needs of a run to open it; `run_id` is that of `tracking.json`, if any."""

    folder: Path
    name: str
    settings: Mapping[str, Any]
    run_id: Optional[str]


def check_library(name: str) -> None:
    """InputError if the library of a service is missing; only the worker that tracks imports it."""
    if importlib.util.find_spec(name) is None:
        raise InputError(f"--track {name}: its library is missing; {pip_install(name)}")


def open_service(name: str, run: Tracked) -> Service:
    """Open a tracked run; raises whatever the library raises."""
    module = importlib.import_module(f"imagenet_trainer.runs.tracking_{name}")
    return module.open_run(run)


class Tracker:
    """A service in its thread. `warn` is called with one line if it fails."""

    def __init__(
        self,
        name: str,
        folder: Path,
        settings: Mapping[str, Any],
        warn: Callable[[str], None],
        patience: float = _LAST_SECONDS,
    ) -> None:
        self._name, self._warn, self._patience = name, warn, patience
        self._path = folder / "tracking.json"
        self._run = Tracked(folder, folder.name, settings, self._ids().get(name))
        self._waiting: queue.Queue[Optional[Callable[[Service], None]]] = queue.Queue()
        self._failed = False
        self._thread = threading.Thread(target=self._work, name=f"track-{name}", daemon=True)
        self._thread.start()

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Record values by their tags after an update; nan is omitted."""
        known = {tag_of(tag): float(v) for tag, v in values.items() if not math.isnan(v)}
        if known and not self._failed:
            if self._waiting.qsize() >= _MOST_WAITING:
                self._fail("it does not take the values any more")
                return
            self._waiting.put(lambda service: service.write(update, known))

    def hide_after(self, update: int) -> None:
        """Do nothing: services keep the points that a rollback repeats."""

    def close(self, how: str, update: int, result: Mapping[str, Any]) -> None:
        """End the tracked run; wait for the service, but not for ever, nor if it failed."""
        if self._failed:
            return
        known = {name: value for name, value in result.items() if isinstance(value, (int, float))}
        self._waiting.put(lambda service: service.finish(how, update, known))
        self._waiting.put(None)
        patience = min(self._patience, _SIGNAL_SECONDS if how == "interrupted" else math.inf)
        self._thread.join(patience)
        if self._thread.is_alive():
            self._fail(f"it did not end within {patience:g} seconds")

    # --- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            service = open_service(self._name, self._run)
            self._keep(service.run_id)
            for call in iter(self._waiting.get, None):
                if self._failed:
                    return
                call(service)
        except (Exception, SystemExit) as error:  # whatever the library raises
            self._fail(one_line(error))

    def _fail(self, reason: str) -> None:
        if not self._failed:
            self._failed = True
            self._warn(
                f"--track {self._name}: {_without_credentials(reason)}; the training continues "
                "without it"
            )

    def _ids(self) -> Dict[str, str]:
        """The ids of tracked runs by service; {} if the file is missing or damaged."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        pairs: Tuple[Any, ...] = tuple(content.items()) if isinstance(content, dict) else ()
        return {name: one for name, one in pairs if re.fullmatch(r"[\w-]{1,64}", str(one))}

    def _keep(self, run_id: str) -> None:
        if self._run.run_id != run_id:
            with _FILE:
                write_json(self._path, {**self._ids(), self._name: run_id})


_FILE = threading.Lock()  # two services write one file


def _without_credentials(text: str) -> str:
    """The text without user and password in addresses."""
    return re.sub(r"(\w://)[^/@\s]+@", r"\1", text)
