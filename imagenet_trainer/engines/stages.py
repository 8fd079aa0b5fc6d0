"""Seconds of the stages of an update, where somebody asks for them."""

import time
from abc import ABC, abstractmethod
from typing import Dict, Optional


class Staged(ABC):
    """An engine whose updates can be measured stage by stage.

    A dictionary in `stage_seconds` makes every update add its stages' seconds to it; each then
    waits for the one before. None, as usual, costs nothing.
    """

    stage_seconds: Optional[Dict[str, float]] = None
    _stage_began = 0.0

    @abstractmethod
    def wait(self) -> None:
        """Wait for all work under way on the devices."""

    def end_stage(self, name: str) -> None:
        """Count the time since the last stage ended to this one; to none with an empty name."""
        if self.stage_seconds is None:
            return
        self.wait()
        now = time.perf_counter()
        if name:
            before = self.stage_seconds.get(name, 0.0)
            self.stage_seconds[name] = before + now - self._stage_began
        self._stage_began = now
