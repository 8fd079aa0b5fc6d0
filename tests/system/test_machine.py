import builtins
import io
from types import SimpleNamespace

import pytest

from imagenet_trainer.system import machine


@pytest.fixture
def files(monkeypatch):
    """Replace what `open` finds by a dict of path to text."""

    contents = {}

    def open_(path, *words, **more):
        if path in contents:
            return io.StringIO(contents[path])
        raise FileNotFoundError(path)

    monkeypatch.setattr(builtins, "open", open_)
    return contents


@pytest.mark.parametrize(
    ("limit", "usage", "free"),
    [
        (None, None, 1_000_000),
        ("500000\n", "200000\n", 300_000),
        ("max\n", "200000\n", 1_000_000),
        ("9" * 18, "5", 1_000_000),
        ("500000", "600000", 0),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_free_memory_is_that_of_the_container_if_less(
    limit, usage, free, version, files, monkeypatch
):
    memory = SimpleNamespace(available=1_000_000)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: memory)
    if limit:
        files.update(zip(machine._CONTAINER[version], (limit, usage)))
    assert machine.free_memory() == free


def test_peak_memory(files):
    files["/proc/self/status"] = "Name:\tpython\nVmHWM:\t    4000 kB\nVmRSS:\t    3000 kB\n"
    assert machine.peak_memory() == 4000 << 10
    machine.reset_peak_memory()  # a file that cannot be written is no error
    files.clear()
    assert machine.peak_memory() == 0
