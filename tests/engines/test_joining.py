import os
import signal
import subprocess
import sys

from conftest import ROOT

from imagenet_trainer.engines import joining


def who_waits(limits, ignored=()):
    """A process that waits in C for others that never come, after its first line."""
    code = (
        "import ctypes, signal, sys\nfrom imagenet_trainer.engines.joining import joining\n"
        f"for number in {[int(n) for n in ignored]}: signal.signal(number, signal.SIG_IGN)\n"
        "record = lambda *_: print('recorded', flush=True)\n"
        "signal.signal(signal.SIGTERM, record)\n"
        f"with joining(lambda: 'the scheduler', {limits}):\n"
        "    print('begins', flush=True)\n"
        "    libc = ctypes.CDLL(None)\n"
        "    while True: libc.pause()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "begins\n"
    return process


def test_who_waits_says_for_what_and_ends():
    process = who_waits("0.1, 0.3")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert [line.split()[0] for line in said.splitlines()] == ["waiting", "error:"]
    assert said.count("the scheduler") == 2


def test_who_waits_obeys_the_first_signal():
    process = who_waits("0, 600")
    assert process.stderr.readline() == "waiting for the scheduler\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == -signal.SIGTERM


def test_a_signal_before_the_others_are_waited_for_ends_the_process():
    # The import of an engine takes seconds; a worker would record the signal, and wait 300 s.
    code = (
        "import os, signal, sys\nsys.modules['torch'] = None\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.endswith('pytorch.workers'): os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('recorded'))\n"
        "from imagenet_trainer.engines import Devices, factory\n"
        "from types import SimpleNamespace\n"
        "factory.choose_engine = lambda devices: SimpleNamespace(engine='torch')\n"
        "factory.join_workers(Devices())\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")


def test_handlers_return_when_all_are_present():
    before = signal.getsignal(signal.SIGTERM)
    with joining.joining(lambda: "nobody"):
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before
