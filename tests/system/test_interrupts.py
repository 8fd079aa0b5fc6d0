import os
import random
import signal
import threading

import pytest
from helpers.interrupting import count_events, fault_of, run_until

from imagenet_trainer.system.interrupts import Interrupts, signal_name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_recorded(number):
    def handler(*_):
        pass

    before = signal.signal(number, handler)  # under nohup SIGHUP is ignored
    try:
        with Interrupts() as interrupts:
            assert not interrupts and interrupts.exit_code == 0
            os.kill(os.getpid(), number)
            assert interrupts and interrupts.exit_code == 128 + number
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_a_signal_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupts
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_trains_without_signals():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with Interrupts() as interrupts:
            seen.append((interrupts.signal, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, before)]


def test_the_second_signal_acts():
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_at_a_terminal_the_first_ctrl_c_says_that_it_was_heard(monkeypatch):
    written = []
    with Interrupts() as interrupts, monkeypatch.context() as patch:
        patch.setattr(os, "isatty", lambda descriptor: descriptor == 2)
        patch.setattr(os, "write", lambda descriptor, text: written.append(text))
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts
    assert len(written) == 1 and b"Ctrl-C again stops at once" in written[0]


def test_signal_names():
    assert (signal_name(15), signal_name(signal.SIGINT)) == ("SIGTERM", "SIGINT")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit --summary", "doctor", "published", "compare", "export"])
def test_ctrl_c_at_any_import_has_no_traceback(command, tmp_path):
    words = f"imagenet_trainer.{command}".split()
    count_events(words, tmp_path)  # the first run also compiles modules
    events = count_events(words, tmp_path)
    draw = random.Random(events)
    for _ in range(12):
        event = draw.randint(1, events)
        done = run_until(event, words, tmp_path)
        assert not fault_of(done), (event, done)
