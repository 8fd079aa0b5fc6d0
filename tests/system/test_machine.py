import builtins
import io

from imagenet_trainer.system import machine


def files_of(monkeypatch, contents):
    def open_(path, *words, **more):
        if path in contents:
            return io.StringIO(contents[path])
        raise FileNotFoundError(path)

    monkeypatch.setattr(builtins, "open", open_)


MEMORY = "MemTotal: 2000 kB\nMemFree: 100 kB\nMemAvailable: 1000 kB\n"


def test_free_memory_of_the_system(monkeypatch):
    files_of(monkeypatch, {"/proc/meminfo": MEMORY})
    assert machine.free_memory() == 1000 << 10


def test_free_memory_of_a_container(monkeypatch):
    (limit, used), (old_limit, old_used) = machine._CONTAINER
    files_of(monkeypatch, {"/proc/meminfo": MEMORY, limit: "500000\n", used: "200000\n"})
    assert machine.free_memory() == 300_000
    files_of(monkeypatch, {"/proc/meminfo": MEMORY, limit: "max\n", used: "200000\n"})
    assert machine.free_memory() == 1000 << 10
    files_of(monkeypatch, {"/proc/meminfo": MEMORY, old_limit: "9" * 18, old_used: "5"})
    assert machine.free_memory() == 1000 << 10


def test_nobody_says(monkeypatch):
    files_of(monkeypatch, {})
    assert machine.free_memory() == 0


def test_the_peak_of_this_process(monkeypatch):
    status = "Name:\tpython\nVmHWM:\t    4000 kB\nVmRSS:\t    3000 kB\n"
    files_of(monkeypatch, {"/proc/self/status": status})
    assert machine.peak_memory() == 4000 << 10
    assert machine.resident_memory() == 3000 << 10
    machine.forget_peak()  # where that cannot be it is no error
    files_of(monkeypatch, {})
    assert machine.peak_memory() == machine.resident_memory() == 0
