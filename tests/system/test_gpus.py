import pytest
from helpers.fake_gpus import (
    A100,
    H100,
    V100,
    answers,
    ask_again,
    fake_nvidia_smi,
    show,
    show_without_capability,
)

from imagenet_trainer.system.gpus import driver_version, nvidia_gpus, split_gpus


def test_gpus_are_read_from_nvidia_smi(monkeypatch, tmp_path):
    fake_nvidia_smi(monkeypatch, tmp_path, show(V100, "Board, with comma, 8.6", H100))
    assert nvidia_gpus() == [
        ("Tesla V100-SXM2-16GB", (7, 0)),
        ("Board, with comma", (8, 6)),
        ("NVIDIA H100 80GB HBM3", (9, 0)),
    ]


def test_a_driver_that_does_not_tell_compute_capabilities(monkeypatch, tmp_path):
    fake_nvidia_smi(monkeypatch, tmp_path, show_without_capability(V100, "Board, with comma, 8.6"))
    assert nvidia_gpus() == [("Tesla V100-SXM2-16GB", None), ("Board, with comma", None)]


@pytest.mark.parametrize(
    "script", ["true", "echo 'No devices were found'; exit 6", f"{show(V100)}; exit 9"]
)
def test_no_gpus(monkeypatch, tmp_path, script):
    fake_nvidia_smi(monkeypatch, tmp_path, script)
    assert nvidia_gpus() == []


def test_no_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    ask_again(monkeypatch)
    assert nvidia_gpus() == []


def test_the_driver_and_split_gpus(monkeypatch, tmp_path):
    script = answers(A100, A100, driver="535.104.05", mig=("Disabled", "Enabled"))
    fake_nvidia_smi(monkeypatch, tmp_path, script)
    assert driver_version() == "535.104.05" and split_gpus() == [1]
    fake_nvidia_smi(monkeypatch, tmp_path, answers(V100))
    assert split_gpus() == []
    fake_nvidia_smi(monkeypatch, tmp_path, "exit 9")
    assert driver_version() == "" and split_gpus() == []
