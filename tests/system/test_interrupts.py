import os
import signal

import pytest

from imagenet_trainer.system.interrupts import Interrupts, signal_name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_recorded(number):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not interrupts and interrupts.exit_code == 0
        os.kill(os.getpid(), number)
        assert interrupts and interrupts.exit_code == 128 + number
    assert signal.getsignal(number) is before


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_second_signal_acts():
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_signal_names():
    assert (signal_name(15), signal_name(signal.SIGINT)) == ("SIGTERM", "SIGINT")
