"""What all workers decide together after an update: to stop, or to write a checkpoint."""

import signal

import numpy as np

from imagenet_trainer.engines import Engine
from imagenet_trainer.system.interrupts import Interrupts

_UPDATES_APART = 20  # between synchronisations of workers that are not in step
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Coordinator:
    """Lets all workers stop after the same update, and save when worker 0 decides.

    A signal reaches workers at different moments, and only worker 0's clock decides when a
    checkpoint is due. So all workers call `synchronise` at the same points and act on the sum of
    what each of them reports.
    """

    def __init__(self, engine: Engine, interrupts: Interrupts) -> None:
        self._engine = engine
        self._calls = 0
        self.interrupts = interrupts  # the signals that this worker received
        self.stopping = False  # whether the workers have agreed to stop

    @property
    def signalled(self) -> bool:
        """Whether this worker received a signal; the others may not know yet."""
        return bool(self.interrupts)

    def synchronise(self, due: bool = False, now: bool = False) -> bool:
        """Update `stopping`; return whether a checkpoint is due by worker 0's clock.

        Workers that are not in step (`--kv-store dist_async`) synchronise only at every twentieth
        call, and if `now` is set.
        """
        self._calls += 1
        if not (self._engine.in_step or now or self._calls % _UPDATES_APART == 0):
            return False
        here = [due and self._engine.rank == 0, *(self.interrupts.signal == s for s in _SIGNALS)]
        everywhere = self._engine.sum_over_workers(np.array(here, np.float64))
        for number, count in zip(_SIGNALS, everywhere[1:]):
            if count and not self.stopping:
                self.stopping = True
                self.interrupts.signal = number  # all end with the same exit code
        return bool(everywhere[0])
