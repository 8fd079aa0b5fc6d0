"""Observers of other installed packages: `--observers NAME,NAME`."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

from imagenet_trainer.config import plugins


class Listener:
    """Passes events to a plug-in. If it fails, the log says so once, and training continues.

    The plug-in is a function `observe(folder)`, called with the run's folder (pathlib.Path), that
    returns a function of one event, a dictionary as in events.jsonl. The last event is `end`.
    """

    def __init__(self, name: str, folder: Path, log: Callable[[str], None]) -> None:
        self._plugin, observe = plugins.load("observers", name)
        self._log = log
        self._has_failed = False
        self._listener = self._call(observe, folder)
        if not self._has_failed and not callable(self._listener):
            self._stop("it returned no function")

    def __call__(self, event: Dict[str, Any]) -> None:
        """Pass an event."""
        if not self._has_failed:
            self._call(self._listener, event)

    def _call(self, function: Any, argument: Any) -> Any:
        try:
            return function(argument)
        except Exception as error:  # whatever it raises
            self._stop(plugins.one_line(error))

    def _stop(self, reason: str) -> None:
        self._has_failed = True
        self._log(
            f"--observers {self._plugin.name}: {self._plugin.description} failed and gets no more "
            f"events: {reason}"
        )


def check_observers(names: Sequence[str]) -> None:
    """ArgumentError if a name of --observers is no plug-in, or it cannot be imported."""
    for name in names:
        plugins.load("observers", name)


def listeners(names: Sequence[str], folder: Path, log: Callable[[str], None]) -> List[Listener]:
    """The listeners of a run, in the order of the names."""
    return [Listener(name, folder, log) for name in dict.fromkeys(names)]
