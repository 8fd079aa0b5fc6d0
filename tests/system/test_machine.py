import builtins
import io
import re
import resource
from types import SimpleNamespace

import psutil
import pytest
from conftest import ROOT, run

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.errors import InputError
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
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    if limit:
        files.update(zip(machine._CONTAINER[version], (limit, usage)))
    assert machine.free_memory() == free


def test_peak_memory(files):
    files["/proc/self/status"] = "Name:\tpython\nVmHWM:\t    4000 kB\nVmRSS:\t    3000 kB\n"
    assert machine.peak_memory() == 4000 << 10
    machine.reset_peak_memory()  # a file that cannot be written is no error
    files.clear()
    assert machine.peak_memory() == 0


@pytest.mark.parametrize(
    ("group", "limits", "count", "threads"),
    [
        ("0::/\n", {}, 8, 8),
        ("0::/\n", {"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 8, 8),
        ("0::/\n", {"/sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2, 2),
        ("0::/\n", {"/sys/fs/cgroup/cpu.max": "240000 100000\n"}, 3, 2),
        ("0::/a/b\n", {"/sys/fs/cgroup/a/cpu.max": "20000 100000\n"}, 1, 1),
        ("0::/a/b\n", {"/sys/fs/cgroup/a/b/cpu.max": "6400000 100000\n"}, 8, 8),
        ("4:memory:/x\n1:cpu,cpuacct:/a\n0::/\n",
         {"/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n",
          "/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"}, 3, 3),
        ("1:cpu:/\n", {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                       "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 8, 8),
    ],
)  # fmt: skip
def test_processors_of_a_container(files, monkeypatch, group, limits, count, threads):
    """Threads that wait for each other are no more than the quota, rounded, can run at once."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda process: set(range(8)))
    files.update({"/proc/self/cgroup": group, **limits})
    assert machine.processors() == count
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "_own_threads", set())
    machine.use_all_processors()
    assert machine.os.environ["OMP_NUM_THREADS"] == str(threads)
    assert not machine.threads_are_given()


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_how_threads_wait_is_left_to_the_user(monkeypatch, name):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.setenv(name, "as it was")
    before = dict(machine.os.environ)
    machine.wait_briefly()
    assert machine.os.environ == before


def test_the_limit_of_open_files_is_raised_as_far_as_allowed():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
        machine.allow_open_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(556, before[1])
        machine.allow_open_files(10**9)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    "words", [["-m", "imagenet_trainer.fit"], [ROOT / "tools" / "im2rec.py", "x", "x"]]
)
def test_too_little_address_space_for_the_libraries_is_one_line(words):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    result = run(*words, check=2, preexec_fn=limit)
    assert re.fullmatch(r"\w+: error: ulimit -v 307200: .* 1024 MiB .*\n", result.stderr)


def test_too_little_address_space_for_an_engine(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2 << 30, 2 << 30))
    with pytest.raises(InputError, match=r"^ulimit -v 2097152: .* 3072 MiB"):
        choose_engine(Devices())
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    choose_engine(Devices())
