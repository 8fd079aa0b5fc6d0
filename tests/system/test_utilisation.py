import math
import subprocess
import sys
import threading
import time

import pytest
from helpers.fake_nvml import GIB, FakeNvml

from imagenet_trainer.system import utilisation
from imagenet_trainer.system.utilisation import GpuLoad, Load, Sampler


@pytest.fixture
def nvml(monkeypatch):
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(utilisation, "PERIOD", 3600.0)  # the test samples
    return fake


@pytest.fixture
def warnings():
    return []


def test_processor_time_and_memory(warnings):
    with Sampler((), warnings.append) as sampler:
        sampler.read()
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        load = sampler.read()
    assert load.cpu_seconds == pytest.approx(0.2, abs=0.1) and load.seconds >= 0.19
    assert load.cpu_percent == pytest.approx(100 * load.cpu_seconds / load.seconds)
    assert load.gpus == () and not warnings
    assert set(load.row()) == {"cpu_percent", "memory_mb"}


def test_resident_memory_is_what_the_process_holds():
    # In its own process, where nothing else allocates. Pages may come in larger pieces than
    # requested, and freed memory may stay.
    program = """
from imagenet_trainer.system.machine import resident_memory
before = resident_memory()
block = bytearray(b"x") * 50_000_000
print(resident_memory() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True
    )
    assert 45e6 < float(done.stdout) < 250e6


def test_gpus(nvml, warnings):
    with Sampler((0, 1), warnings.append) as sampler:
        nvml.readings[0] = [100.0, 3 * GIB, 65, 300_000]
        sampler.sample()
        load = sampler.read()
    first, second = load.gpus
    assert first == GpuLoad(2, 75.0, 3 * GIB / 1e6, 65.0, 250.0)
    assert second == GpuLoad(2, 90.0, 4 * GIB / 1e6, 70.0, 250.0)
    row = load.row()
    assert row["gpu_percent"] == 82.5 and row["gpu_watts"] == 500.0
    assert row["gpu_memory_mb"] == 4 * GIB / 1e6 and row["gpu_celsius"] == 70.0
    scalars = load.scalars((4, 5))
    assert scalars["gpu4/watts"] == 250.0 and scalars["gpu5/percent"] == 90.0
    assert not warnings


def test_each_reading_covers_the_interval_since_the_last_one(nvml, warnings):
    with Sampler((0,), warnings.append) as sampler:
        sampler.read()
        nvml.readings[0][0] = 10.0
        sampler.sample()
        sampler.read()
        sampler.sample()
        # The newest sample stays, for intervals shorter than the period.
        assert sampler.read().gpus[0].percent == 10.0
        assert sampler.read().gpus[0].percent == 10.0


def test_values_that_a_gpu_does_not_report_are_nan(nvml, warnings):
    nvml.readings[0] = [None, 2 * GIB, None, None]
    with Sampler((0,), warnings.append) as sampler:
        load = sampler.read()
    assert math.isnan(load.gpus[0].percent) and math.isnan(load.gpus[0].watts)
    assert load.gpus[0].memory_mb == 2 * GIB / 1e6
    # Two intervals together know what either knows.
    both = load.gpus[0] + GpuLoad(1, 40.0, 1.0, 50.0, 100.0)
    assert (both.percent, both.celsius, both.watts) == (40.0, 50.0, 100.0)


def test_intervals_add_up():
    one = Load(10.0, 5.0, 100.0, (GpuLoad(1, 10.0, 5.0, 40.0, 100.0),))
    two = Load(30.0, 25.0, 90.0, (GpuLoad(3, 50.0, 4.0, 60.0, 300.0),))
    both = one + two
    assert both.cpu_percent == 75.0 and both.memory_mb == 100.0
    assert both.gpus == (GpuLoad(4, 40.0, 5.0, 60.0, 250.0),)


@pytest.mark.parametrize(
    ("visible", "gpus", "percents"),
    [
        (None, (1,), [90.0]),
        ("1,0", (0, 1), [90.0, 50.0]),
        ("GPU-bbbb-2", (0,), [90.0]),
        ("GPU-b", (0,), [90.0]),
    ],
)
def test_cuda_visible_devices(nvml, warnings, monkeypatch, visible, gpus, percents):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Sampler(gpus, warnings.append) as sampler:
        assert [gpu.percent for gpu in sampler.read().gpus] == percents


@pytest.mark.parametrize("visible", ["0", "MIG-x,MIG-y"])
def test_a_gpu_that_nvml_does_not_find(nvml, warnings, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Sampler((1,), warnings.append) as sampler:
        assert sampler.read().gpus == ()
    assert len(warnings) == 1 and "not recorded" in warnings[0]


def test_without_the_package(warnings, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with Sampler((0,), warnings.append) as sampler:
        assert "gpu_percent" not in sampler.read().row()
    assert len(warnings) == 1 and "pip install nvidia-ml-py" in warnings[0]


def test_nvml_is_not_loaded_without_gpus(nvml, warnings):
    with Sampler((), warnings.append) as sampler:
        sampler.read()
    assert not nvml.queries


def test_the_thread_samples_and_ends(nvml, warnings, monkeypatch):
    monkeypatch.setattr(utilisation, "PERIOD", 0.001)
    with Sampler((0,), warnings.append) as sampler:
        queries = nvml.queries
        while nvml.queries < queries + 12:
            time.sleep(0.001)
        assert sampler.read().gpus[0].samples > 1
    assert "sampler" not in [thread.name for thread in threading.enumerate()]
