"""Measures the stages of an update."""

import time
from abc import ABC, abstractmethod
from typing import Dict, Optional


class StageTimer(ABC):
    """Base class of engines whose updates can be timed stage by stage.

    If `stage_seconds` is a dictionary, every update adds the seconds of its stages to it, and each
    stage waits for the one before. If it is None, the default, nothing is measured.
    """

    stage_seconds: Optional[Dict[str, float]] = None
    _stage_began = 0.0

    @abstractmethod
    def wait(self) -> None:
        """Wait for all pending work on the devices."""

    def end_stage(self, name: str) -> None:
        """Add the time since the last stage ended to this stage; with an empty name, to none."""
        if self.stage_seconds is None:
            return
        self.wait()
        now = time.perf_counter()
        if name:
            before = self.stage_seconds.get(name, 0.0)
            self.stage_seconds[name] = before + now - self._stage_began
        self._stage_began = now
