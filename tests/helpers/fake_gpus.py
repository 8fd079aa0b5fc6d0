"""Fake GPUs in the output of nvidia-smi and in MXNet."""

import os

import pytest

from imagenet_trainer.system.mxnet_import import mx

H100, V100 = "NVIDIA H100 80GB HBM3, 9.0", "Tesla V100-SXM2-16GB, 7.0"


def fake_nvidia_smi(monkeypatch, folder, script):
    """Put an `nvidia-smi` in front of all others on PATH."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def show(*gpus):
    return "\n".join(f"echo '{gpu}'" for gpu in gpus)


def build_with(monkeypatch, cuda, count=0):
    """Set whether MXNet reports a CUDA build, and how many GPUs it finds."""

    class Features:
        def is_enabled(self, name):
            return {"CUDA": cuda}[name]

    monkeypatch.setattr(mx.runtime, "Features", Features)
    monkeypatch.setattr(mx.context, "num_gpus", lambda: count)


from imagenet_trainer.engines import choice
from imagenet_trainer.engines.choice import TORCHRUN


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with these GPUs, an MXNet for GPUs or not, PyTorch or not."""

    def build(*gpus, cuda=False, torch=True):
        fake_nvidia_smi(monkeypatch, tmp_path, show(*gpus) if gpus else "exit 9")
        build_with(monkeypatch, cuda, len(gpus))
        monkeypatch.setattr(choice, "has_torch", lambda: torch)
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)

    return build
