import pytest

pytest.importorskip("torch")

from imagenet_trainer import fit
from imagenet_trainer.benchmarks import batch
from imagenet_trainer.engines import torch_engine


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
    """A device whose memory holds 20 pictures."""
    real = torch_engine.TorchEngine._train

    def train(self, held, images, rate):
        if images > 20:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        real(self, held, images, rate)

    monkeypatch.setattr(torch_engine.TorchEngine, "_train", train)


def test_find_batch_prints_what_fits(small, fit_words, capsys):
    assert fit.main([*fit_words, "--engine", "torch", "--find-batch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "     8  fits" and "    24  is too many" in lines
    assert lines[-1] == "--batch-size 16: the largest that fits, to a sixteenth"


def test_several_devices_hold_a_part_each(small, fit_words, capsys):
    assert fit.main([*fit_words, "--engine", "torch", "--cpus", "2", "--find-batch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == (
        "--batch-size 32: the largest that fits, to a sixteenth, 16 on each of 2 devices"
    )


def test_a_batch_that_is_too_large_says_which_would_fit(small, fit_words, tmp_path, capsys):
    words = [*fit_words, "--engine", "torch", "--batch-size", "48"]
    assert fit.main([*words, "--model-prefix", str(tmp_path / "run" / "model")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "--batch-size: 48 pictures at a time are too many for the memory of the CPU" in error
    assert error.endswith("(measured: 16 fit)")


def test_mxnet_is_not_measured(fit_words, capsys):
    assert fit.main([*fit_words, "--engine", "mxnet", "--find-batch"]) == 2
    assert "--find-batch: measures PyTorch's memory" in capsys.readouterr().err
