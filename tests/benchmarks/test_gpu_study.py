"""tools/gpu_study.py and tools/gpu_study.sh."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT

torch = pytest.importorskip("torch")

from imagenet_trainer import benchmark, symbols
from imagenet_trainer.config import flags
from imagenet_trainer.engines.memory import DeviceMemoryError

sys.path.append(str(ROOT / "tools"))
import gpu_bounds
import gpu_measures
import gpu_study
import torchvision_networks

TRIAL = ["--device", "cpu", "--small"]


@pytest.mark.parametrize(
    "name, parameters",
    # torchvision's published counts.
    [("resnet18", 11_689_512), ("resnet50", 25_557_032), ("squeezenet1_0", 1_248_424)],
)
def test_networks_have_as_many_parameters_as_torchvisions(name, parameters):
    network, _ = torchvision_networks.network(name)
    assert sum(value.numel() for value in network.parameters()) == parameters
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_the_bound_is_the_slower_of_two_rates():
    symbol = symbols.get_symbol("resnet", 1000, num_layers=50)
    # 4.1 GFLOP of multiply-adds forward, three times that in training: He et al. 2016, table 1.
    by_flops = gpu_bounds.bound(symbol, 224, gpu_bounds.Bounds(1e15, 1e30), 2)
    assert 1e15 / by_flops == pytest.approx(3 * 2 * 4.1e9, rel=0.05)
    by_bytes = gpu_bounds.bound(symbol, 224, gpu_bounds.Bounds(1e30, 1e12), 2)
    both = gpu_bounds.bound(symbol, 224, gpu_bounds.Bounds(1e15, 1e12), 2)
    assert both < min(by_flops, by_bytes) * 1.0001
    assert gpu_bounds.bound(symbol, 224, gpu_bounds.Bounds(1e30, 1e12), 4) == pytest.approx(
        by_bytes / 2
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_a_gpu(capsys):
    assert gpu_study.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gpu_study: error: ") and "--device cpu --small" in line


def test_a_cpu_measures_the_trial_run_only(capsys):
    assert gpu_study.main(["--device", "cpu", "--short"]) == 2
    assert "add --small" in capsys.readouterr().err


def test_the_short_form_measures_less(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    full, short = (
        gpu_study.workload_of(gpu_study.StudySettings(short=short)) for short in (False, True)
    )
    assert short.batches == (256,) and len(full.batches) == 3
    assert short.images < full.images and short.repeated == 1
    assert short.gpus == (0,) and short.dtype == "bfloat16"


def test_benchmark_gpu_names_the_script(capsys):
    assert benchmark.main(["gpu", "--network", "resnet50", "--batches", "256"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmark: error: gpu: ") and "tools/gpu_study.sh" in line


def test_the_script_needs_a_gpu(tmp_path):
    words = ["bash", str(ROOT / "tools" / "gpu_study.sh"), str(tmp_path / "study.txt")]
    environment = {**os.environ, "PYTHON": "false"}  # as if it had no PyTorch
    result = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert result.returncode == 2 and "PYTHON=" in result.stderr
    assert not list(tmp_path.iterdir())


def test_networks_that_torchvision_lacks(capsys):
    assert gpu_study.main([*TRIAL, "--network", "resnet50,vgg-16"]) == 2
    assert "--network vgg-16: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        gpu_study.main(["--batches", "64,x"])
    assert "--batches: '64,x': " in capsys.readouterr().err


def steps(tmp_path, *words):
    settings = flags.parse(gpu_study.StudySettings, [*TRIAL, *words], "gpu_study", "")
    study = gpu_measures.Study(gpu_study.workload_of(settings), tmp_path)
    return gpu_study.steps_of(settings, study)


def test_a_part_of_the_table(tmp_path):
    found = steps(tmp_path, "--network", "squeezenet1.0,resnet18", "--batches", "2,3")
    rows = [step.name for step in found if step.name.endswith(" plain")]
    assert sorted(rows) == [
        f"{name} {batch} plain" for name in ("resnet18", "squeezenet1.0") for batch in (2, 3)
    ]
    assert len({step.name for step in found}) == len(found)


def test_what_does_not_compile_is_measured_without(tmp_path):
    workload = gpu_measures.FULL
    assert gpu_measures.Study(workload, tmp_path).devices().compile == "off"
    gpu_measures.Study(workload, tmp_path).keep(compiles=1)  # in another process
    assert gpu_measures.Study(workload, tmp_path).devices().compile == "auto"


def test_what_does_not_fit_is_a_row(tmp_path, monkeypatch, capsys):
    def too_large(*_):
        raise DeviceMemoryError(4, "GPU 0")

    study = gpu_measures.Study(gpu_measures.SMALL, tmp_path)
    for name in ("engine", "_plain"):
        monkeypatch.setattr(study, name, too_large)
    study.speed("resnet18", 4)
    study.shards("resnet18", 4)
    study.plain("resnet18", "resnet18", 4)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3 and all(row.endswith(" does not fit") for row in rows)


@pytest.mark.slow
def test_the_script_runs_without_a_gpu_if_that_is_wanted(tmp_path):
    output = tmp_path / "study.txt"
    environment = {**os.environ, "PYTHON": sys.executable, "STUDY": " ".join(TRIAL)}
    words = ["bash", str(ROOT / "tools" / "gpu_study.sh"), "--short", str(output)]
    result = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout
    assert output.read_text() == result.stdout
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("the CPU")]
    rows = [line for line in lines if line.startswith("squeezenet1.0")]
    assert [row[22:36].strip() for row in rows] == [
        "not compiled", "not compiled", "from shards", "plain PyTorch",
    ]  # fmt: skip
    (parity,) = (line for line in lines if line.startswith("parity"))
    assert float(parity.split("at most ")[1].split()[0]) < 1e-5
    (repeat,) = (line for line in lines if line.startswith("repeat"))
    assert "are bit-equal; " in repeat
    shared = [line for line in lines if line.startswith("DistributedDataParallel")]
    assert shared[1].endswith("the same bits")
    assert lines[-1].endswith("; 0 of 11 steps are missing")
