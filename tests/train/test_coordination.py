import signal

from helpers.worker_threads import Threads

from imagenet_trainer.system.interrupts import Interrupts
from imagenet_trainer.train.coordination import Coordinator


class OneEngine:
    """The part of an engine that an coordinator uses."""

    def __init__(self, workers):
        self.rank, self.world_size = workers.rank, workers.world_size
        self.sum_over_workers = workers.sum
        self.in_step = True


def test_a_signal_to_one_stops_all_after_the_same_update():
    def work(workers):
        interrupts = Interrupts()
        coordinator = Coordinator(OneEngine(workers), interrupts)
        for update in range(10):
            if workers.rank == 1 and update == 4:
                interrupts.signal = signal.SIGTERM
                assert coordinator.signalled and not coordinator.stopping
            coordinator.synchronise()
            if coordinator.stopping:
                return update, interrupts.exit_code
        return None

    assert Threads(3).run(work) == [(4, 143)] * 3


def test_worker_0_decides_when_a_checkpoint_is_due():
    def work(workers):
        coordinator = Coordinator(OneEngine(workers), Interrupts())
        due = [(True, False), (False, True), (False, False)]  # by worker 0's clock, by the other's
        return [coordinator.synchronise(pair[workers.rank]) for pair in due]

    assert Threads(2).run(work) == [[True, False, False]] * 2


def test_two_different_signals_give_one_exit_code():
    def work(workers):
        interrupts = Interrupts()
        coordinator = Coordinator(OneEngine(workers), interrupts)
        interrupts.signal = (signal.SIGTERM, signal.SIGINT)[workers.rank]
        coordinator.synchronise()
        return interrupts.exit_code

    assert Threads(2).run(work) == [130, 130]
