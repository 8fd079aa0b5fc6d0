import subprocess
import sys
import weakref

import pytest

pytest.importorskip("torch")

from imagenet_trainer import fit
from imagenet_trainer.engines.pytorch import engine as torch_engine
from imagenet_trainer.system.machine import peak_memory
from imagenet_trainer.train.previews import batch_size as batch


@pytest.mark.parametrize("holds", [0, 7, 8, 9, 100, 255, 256, 257, 1000, 5000])
@pytest.mark.parametrize("start", [8, 32, 256, 4096])
def test_the_largest_is_found_to_a_sixteenth(holds, start):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= holds

    found = batch.largest(fits, start, 8)
    best = holds // 8 * 8
    assert found <= best and best - found <= max(8, found // 16)
    assert len(tried) == len(set(tried)) <= 20


@pytest.fixture
def small(monkeypatch):
    """A device whose memory holds 20 images."""
    real, large = torch_engine.TorchEngine._train, weakref.WeakSet()

    def train(self, held, images, rate):
        assert not large  # an engine that failed has left the memory
        if images > 20:
            large.add(self)
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        real(self, held, images, rate)

    monkeypatch.setattr(torch_engine.TorchEngine, "_train", train)


def test_find_batch_prints_what_fits(small, fit_words, capsys):
    assert fit.main([*fit_words, "--engine", "torch", "--find-batch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("     8  fits, ") and "    24  too large" in lines
    assert lines[-1] == "--batch-size 16: the largest that fits, within one sixteenth"


@pytest.mark.parametrize("engine", ["mxnet", "torch"])
def test_batches_are_mixed_as_in_the_training(engine, fit_words, monkeypatch, capsys):
    largest = batch.largest
    monkeypatch.setattr(batch, "largest", lambda *words: largest(*words[:3], most=8))
    words = [*fit_words, "--engine", engine, "--find-batch", "--mixup", "0.2"]
    assert fit.main(words) == 0
    assert capsys.readouterr().out.startswith("     8  fits")


def test_the_error_for_a_batch_that_is_too_large_gives_one_that_fits(
    small, fit_words, tmp_path, capsys, monkeypatch
):
    words = [*fit_words, "--engine", "torch", "--batch-size", "48", "--monitor", "1"]
    words += ["--model-prefix", str(tmp_path / "run" / "model")]
    assert fit.main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "--batch-size: 48 images at a time are too many for the memory of the CPU" in error
    assert error.endswith("(measured: 16 fit)")
    monkeypatch.setattr(batch, "peak_memory", lambda: 0)  # of a system that does not say it
    assert fit.main(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "too many for the memory of the CPU" in error and "--find-batch" not in error


def test_mxnet_is_not_measured_on_gpus(fit_words, capsys):
    assert fit.main([*fit_words, "--engine", "mxnet", "--gpus", "0", "--find-batch"]) == 2
    assert "add --engine torch" in capsys.readouterr().err


def memory(monkeypatch, free, base=100, each=10):
    """Free bytes; what a process holds, and each image takes; no time, and any number of images."""
    monkeypatch.setattr(batch, "images_of", lambda settings: None)
    held = {"peak": base}
    monkeypatch.setattr(batch, "free_memory", lambda: free)
    monkeypatch.setattr(batch, "resident_memory", lambda: base)
    monkeypatch.setattr(batch, "peak_memory", lambda: held["peak"])
    tried = []

    def attempt(start, size):
        tried.append(size)
        held["peak"] = base + each * size
        return True

    monkeypatch.setattr(batch, "attempt", attempt)
    return tried


@pytest.mark.parametrize("engine", ["mxnet", "torch"])
def test_the_memory_of_a_cpu_is_not_exhausted(monkeypatch, engine, fit_words, capsys):
    tried = memory(monkeypatch, free=10_000_000_000, each=10_000_000)
    assert fit.main([*fit_words, "--engine", engine, "--find-batch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # 9 GB, a tenth being left to others, hold 900 images: never more were tried.
    assert max(tried) <= 900 and "  1024  too large: would need 10.2 GB of 9.0" in lines
    assert lines[-1].startswith(f"--batch-size {max(tried)}: ") and max(tried) > 840


def test_processes_share_the_memory(monkeypatch, fit_words, capsys):
    tried = memory(monkeypatch, free=10_000_000_000, each=10_000_000)
    words = [*fit_words, "--engine", "torch", "--cpus", "2", "--find-batch"]
    assert fit.main(words) == 0
    assert 420 < max(tried) <= 450
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"--batch-size {2 * max(tried)}: the largest that fits, within one sixteenth, "
        f"{max(tried)} on each of 2 devices"
    )


def test_contexts_of_one_process_share_a_batch(monkeypatch, fit_words):
    tried = memory(monkeypatch, free=3000)
    words = [*fit_words, "--engine", "mxnet", "--cpus", "3", "--find-batch"]
    assert fit.main(words) == 0
    assert all(size % 24 == 0 for size in tried)


def test_a_system_without_peak_memory_is_refused(monkeypatch, fit_words, capsys):
    memory(monkeypatch, free=3000, base=0)
    assert fit.main([*fit_words, "--engine", "torch", "--find-batch"]) == 2
    assert "--find-batch: " in capsys.readouterr().err


def test_no_batch_that_fits_is_an_error(monkeypatch, fit_words, capsys):
    memory(monkeypatch, free=3000)
    monkeypatch.setattr(batch, "attempt", lambda setup, size: False)
    assert fit.main([*fit_words, "--find-batch"]) == 2
    assert "--find-batch: 8 images are too many; use a smaller" in capsys.readouterr().err


FORESEEN = """
import numpy as np
from imagenet_trainer.train.previews import batch_size as batch

def tried(foresight, size):
    foresight.begin()
    block = np.ones(size * 2_000_000, np.uint8)
    foresight.end(size)

foresight = batch.MemoryForecast(1)
for size in (16, 32):
    tried(foresight, size)
before = foresight.needed(200)
tried(foresight, 200)
print(before, foresight.needed(200), foresight.needed(400))
"""


@pytest.mark.skipif(not peak_memory(), reason="needs Linux's /proc")
def test_the_memory_forecast_is_what_is_needed():
    """What two hundred images of two million bytes take follows from 16 and 32."""
    # In a process of its own: what others have held there is no memory that a batch needs.
    answer = subprocess.run(
        [sys.executable, "-c", FORESEEN], stdout=subprocess.PIPE, text=True, check=True
    )
    before, after, twice = map(float, answer.stdout.split())
    assert before == pytest.approx(after, rel=0.1)
    assert twice > after + 150 * 2_000_000


def test_the_number_of_images_is_the_limit(monkeypatch, fit_words, capsys):
    tried = memory(monkeypatch, free=10_000_000_000)
    monkeypatch.setattr(batch, "images_of", lambda settings: 60)
    assert fit.main([*fit_words, "--find-batch"]) == 0
    assert max(tried) == 56
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("--batch-size 56: fits; ") and "60 images" in last


def test_the_images_are_counted(fit_words, tmp_path):
    from imagenet_trainer.config import FitSettings, flags

    settings = flags.parse(FitSettings, fit_words, "fit", "")
    assert batch.images_of(settings) == 60
    missing = ["--data-train", str(tmp_path / "no.rec")]
    assert batch.images_of(flags.parse(FitSettings, missing, "fit", "")) is None


def test_trials_on_a_cpu_end(monkeypatch, fit_words, capsys):
    tried = memory(monkeypatch, free=10**12)
    attempt, clock = batch.attempt, [0.0]

    def slow(setup, size):
        clock[0] += 0.1 * size
        return attempt(setup, size)

    monkeypatch.setattr(batch, "attempt", slow)
    monkeypatch.setattr(batch.time, "monotonic", lambda: clock[0])
    assert fit.main([*fit_words, "--find-batch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert clock[0] <= 120 and 0.1 * sum(tried) == pytest.approx(clock[0])
    assert any("not tried: would take" in line for line in lines)
    assert f"--batch-size {max(tried)}: fits; larger ones would take" in lines[-1]
