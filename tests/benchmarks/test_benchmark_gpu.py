import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

torch = pytest.importorskip("torch")

import symbols
from imagenet_trainer import benchmark
from imagenet_trainer.benchmarks import torch_engine as gpu
from imagenet_trainer.benchmarks import torchvision_networks as plain
from imagenet_trainer.errors import InputError


@pytest.mark.parametrize(
    "name, parameters",
    # torchvision's published counts.
    [("resnet18", 11_689_512), ("resnet50", 25_557_032), ("squeezenet1_0", 1_248_424)],
)
def test_plain_networks_are_torchvision_s(name, parameters):
    made, _ = plain.network(name)
    assert sum(value.numel() for value in made.parameters()) == parameters
    assert made.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_the_bound_is_the_slower_of_two_rates():
    symbol = symbols.get_symbol("resnet", 1000, num_layers=50)
    # 4.1 GFLOP of multiply-adds forward, three times that in training: He et al. 2016, table 1.
    by_flops = gpu.bound(symbol, 224, gpu.Bounds(1e15, 1e30), 2)
    assert 1e15 / by_flops == pytest.approx(3 * 2 * 4.1e9, rel=0.05)
    by_bytes = gpu.bound(symbol, 224, gpu.Bounds(1e30, 1e12), 2)
    both = gpu.bound(symbol, 224, gpu.Bounds(1e15, 1e12), 2)
    assert both < min(by_flops, by_bytes) * 1.0001
    assert gpu.bound(symbol, 224, gpu.Bounds(1e30, 1e12), 4) == pytest.approx(by_bytes / 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_a_gpu_it_says_so(capsys):
    assert benchmark.main(["gpu"]) == 2
    assert "gpu: PyTorch finds no GPU here; --tiny rehearses" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_the_study_says_what_it_needs(tmp_path):
    words = ["bash", str(ROOT / "tools" / "gpu_study.sh"), str(tmp_path / "study.txt")]
    environment = {**os.environ, "PYTHON": sys.executable}
    result = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert result.returncode == 2 and "has no PyTorch that finds a GPU" in result.stderr
    assert not list(tmp_path.iterdir())


def test_decoding_on_the_gpu_has_a_line_of_its_own(monkeypatch):
    asked = []

    def speed(*words):
        asked.append(words[-1])
        return 950.0, 0.031

    monkeypatch.setattr(gpu, "shard_speed", speed)
    line = gpu.decoded_on_gpu("resnet18", 256, gpu.FULL, "folder", "rec", 1000.0)
    assert asked == ["gpu"] and line.split() == ["--decode", "gpu", "950.0", "0.95", "3.1%"]
    assert gpu.decoded_on_gpu("resnet18", 4, gpu.TINY, "folder", "rec", 1000.0) == ""

    def fails(*words):
        raise InputError("DALI is not installed")

    monkeypatch.setattr(gpu, "shard_speed", fails)
    line = gpu.decoded_on_gpu("resnet18", 256, gpu.FULL, "folder", "rec", 1000.0)
    assert line == "\n  --decode gpu: DALI is not installed"


def test_networks_without_a_twin_are_refused(capsys):
    assert benchmark.main(["gpu", "--network", "resnet50,vgg-16"]) == 2
    wanted = "--network vgg-16: gpu measures resnet50, resnet18, squeezenet1.0"
    assert wanted in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["gpu", "--batches", "64,x"])
    assert "--batches: '64,x': " in capsys.readouterr().err


def test_a_part_of_the_table(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(gpu, "row", lambda ours, theirs, batch, *more: asked.append((ours, batch)))
    monkeypatch.setattr(gpu, "parity", lambda name, scale: name)
    words = ["gpu", "--tiny", "--network", "squeezenet1.0,resnet18", "--batches", "2,3"]
    assert benchmark.main(words) == 0
    assert asked == [(n, batch) for n in ("squeezenet1.0", "resnet18") for batch in (2, 3)]


@pytest.mark.slow
def test_the_rehearsal_goes_through_all_of_it(capsys):
    assert benchmark.main(["gpu", "--tiny"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a rehearsal on the CPU")
    (row,) = (line for line in lines if line.startswith("squeezenet1.0"))
    numbers = [float(word.rstrip("%")) for word in row.split()[1:]]
    assert len(numbers) == 10 and np.isfinite(numbers).all()
    (parity,) = (line for line in lines if line.startswith("parity"))
    assert float(parity.split("at most ")[1].split(";")[0]) < 1e-5
