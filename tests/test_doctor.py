import pytest
from conftest import run
from helpers.fake_gpus import H100, V100, build_with, fake_nvidia_smi, show

from imagenet_trainer import __version__, doctor


@pytest.fixture
def examined(monkeypatch, tmp_path, capsys):
    """What the doctor prints where nvidia-smi shows these GPUs and MXNet is built so."""

    def examine(*gpus, cuda=False, torch=False):
        found = doctor.installed
        monkeypatch.setattr(
            doctor, "installed", lambda name: torch or None if name == "torch" else found(name)
        )
        fake_nvidia_smi(monkeypatch, tmp_path, show(*gpus) if gpus else "exit 9")
        build_with(monkeypatch, cuda, len(gpus))
        assert doctor.main([]) == 0
        return capsys.readouterr().out.splitlines()

    return examine


def test_the_command():
    text = run("-m", "imagenet_trainer.doctor").stdout
    assert text.startswith(f"imagenet-trainer {__version__}, Python 3.")
    assert "engine: MXNet on " in text


def test_what_is_installed(examined):
    import numpy as np

    lines = examined()
    assert f"  numpy                   {np.__version__}" in lines
    installed = [line for line in lines if line.startswith("  mxnet")]
    assert len(installed) == 2 and sum("not installed" in line for line in installed) == 1
    assert doctor.installed("no-such-package") is None
    assert any(line.startswith("processors: ") for line in lines)
    assert any(line.startswith("OpenMP threads: ") for line in lines)


def test_no_gpu(examined):
    assert examined()[-2:] == [
        "GPUs: none (nvidia-smi finds no NVIDIA driver)",
        "engine: MXNet on the CPU",
    ]


def test_no_gpu_and_pytorch(examined):
    assert examined(torch="2.13.0")[-1].endswith("; PyTorch is there too: --engine torch")


def test_a_gpu_that_another_mxnet_could_use(examined):
    lines = examined(V100)
    assert "GPU 0: Tesla V100-SXM2-16GB, compute capability 7.0" in lines
    assert "pip uninstall -y mxnet; pip install -e '.[cu117]'" in lines[-2]
    assert lines[-1].startswith("engine: MXNet on the CPU; PyTorch")


def test_a_gpu_that_no_mxnet_can_use(examined):
    for cuda in (False, True):
        lines = examined(H100, cuda=cuda)
        assert "GPU 0: NVIDIA H100 80GB HBM3, compute capability 9.0" in lines
        assert "5.0 to 8.9" in lines[-2]
        assert lines[-1].startswith("engine: MXNet on the CPU; PyTorch drives GPUs")
        lines = examined(H100, cuda=cuda, torch="2.13.0")
        assert "  torch                   2.13.0" in lines
        assert lines[-1] == "engine: PyTorch on GPUs, which MXNet cannot drive; add --gpus 0"


def test_a_gpu_that_is_used(examined):
    assert examined(V100, V100, cuda=True)[-1] == "engine: MXNet on GPUs; add --gpus 0,1"


def test_one_of_two_gpus(examined):
    lines = examined(H100, V100, cuda=True)
    assert "GPU 0 (NVIDIA H100 80GB HBM3)" in lines[-2]
    assert lines[-1] == "engine: MXNet on GPUs; add --gpus 1"
    # With an MXNet for the CPU, each has its own remedy.
    lines = examined(H100, V100)
    assert "9.0" in lines[-3] and "'.[cu117]'" in lines[-2]
    assert lines[-1].startswith("engine: MXNet on the CPU; PyTorch")
