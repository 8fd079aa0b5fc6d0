import builtins
import io

from imagenet_trainer import machine


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
