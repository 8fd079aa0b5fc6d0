"""What several workers decide together after an update: to stop, or to write a checkpoint."""

import signal
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from imagenet_trainer.engines import Engine
    from imagenet_trainer.system.interrupts import Interrupts

_APART = 20  # updates that workers out of step make before they wait for each other
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Agreement:
    """True once the workers have agreed to stop, because a signal came to one of them.

    A signal reaches workers at different moments, and only the first worker's clock says when a
    checkpoint is due. So all ask at the same places (`reach`) and act on the sum of the answers.
    """

    def __init__(self, engine: "Engine", interrupts: "Interrupts") -> None:
        self._engine, self._interrupts = engine, interrupts
        self._stopping = False
        self._asked = 0

    def __bool__(self) -> bool:
        return self._stopping

    @property
    def asked(self) -> bool:
        """Whether a signal came to this worker; the others may not know yet."""
        return bool(self._interrupts)

    @property
    def signals(self) -> "Interrupts":
        """The signals that came to this worker."""
        return self._interrupts

    def reach(self, due: bool = False, now: bool = False) -> bool:
        """Settle whether all stop; return whether a checkpoint is due, by worker 0's clock.

        Workers that are not in step meet here only every so often, and where it has to be `now`.
        """
        self._asked += 1
        if not (self._engine.in_step or now or self._asked % _APART == 0):
            return False
        here = [due and self._engine.rank == 0, *(self._interrupts.signal == s for s in _SIGNALS)]
        everywhere = self._engine.sum_over_workers(np.array(here, np.float64))
        for number, count in zip(_SIGNALS, everywhere[1:]):
            if count and not self._stopping:
                self._stopping = True
                self._interrupts.signal = number  # all end with the same exit code
        return bool(everywhere[0])
