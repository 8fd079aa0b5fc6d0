"""Machines with other GPUs, drivers, builds of the engines and versions of Python."""

import functools
import importlib.util
import os

import pytest

from imagenet_trainer.benchmarks import environment, packages
from imagenet_trainer.engines import choice
from imagenet_trainer.engines.choice import TORCHRUN
from imagenet_trainer.engines.mxnet import devices as mxnet_devices
from imagenet_trainer.system import gpus, mxnet_import, wheels

H100, V100, K80 = ("NVIDIA H100 80GB HBM3, 9.0", "Tesla V100-SXM2-16GB, 7.0", "Tesla K80, 3.7")
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]  # of PyTorch for CUDA 13


def fake_nvidia_smi(monkeypatch, folder, script):
    """Put an `nvidia-smi` in front of all others on PATH."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    ask_again(monkeypatch)


def ask_again(monkeypatch):
    """Forget what nvidia-smi has answered."""
    monkeypatch.setattr(gpus, "_query", functools.cache(gpus._query.__wrapped__))


P100, T4, A100, L4, B200 = (
    "Tesla P100-PCIE-16GB, 6.0",
    "Tesla T4, 7.5",
    "NVIDIA A100-SXM4-40GB, 8.0",
    "NVIDIA L4, 8.9",
    "NVIDIA B200, 10.0",
)


def answers(*gpus, driver="550.54.15", mig=None):
    """What nvidia-smi answers to each of the program's questions."""
    other = "echo 'Field is not a valid field to query.'; exit 2"
    split = "\n".join(f"echo {mode}" for mode in mig) if mig else other
    return (
        f"case $1 in *driver_version*) echo {driver};; *mig.mode*) {split};; "
        f"*compute_cap*) {show(*gpus)};; *) {other};; esac"
    )


def show(*gpus):
    return "\n".join(f"echo '{gpu}'" for gpu in gpus)


def show_without_capability(*gpus):
    """What nvidia-smi of a driver before 510 does."""
    names = show(*(gpu.rpartition(",")[0] for gpu in gpus))
    refusal = """echo 'Field "compute_cap" is not a valid field to query.'; exit 2"""
    return f"case $1 in *compute_cap*) {refusal};; esac\n{names}"


def build_with(monkeypatch, cuda, count=0):
    """Set whether MXNet reports a CUDA build, and how many GPUs it finds."""
    monkeypatch.setattr(mxnet_devices, "cuda_gpus", lambda: count if cuda else None)


class FakeMachine:
    """A machine on which `fit` and `doctor` look for engines.

    `mxnet` is the installed build, cpu or cu117, or None; `torch` is cpu, cuda, or None. With
    `old_driver`, nvidia-smi does not know compute capabilities.
    """

    def __init__(self, monkeypatch, folder, *gpus, mxnet="cpu", torch=None, old_driver=False,
                 python=(3, 11), kind=("Linux", "x86_64"), numpy_2=False):  # fmt: skip
        self.gpus, self.mxnet, self.torch, self.numpy_2 = gpus, mxnet, torch, numpy_2
        shown = show_without_capability(*gpus) if old_driver else show(*gpus)
        fake_nvidia_smi(monkeypatch, folder, shown if gpus else "exit 9")
        self.wheels = wheels.Machine(python, *kind)
        for module in (environment, mxnet_devices, choice, wheels):
            monkeypatch.setattr(module, "this_machine", self.described)
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(mxnet_import, "is_installed", lambda: bool(self.mxnet))
        monkeypatch.setattr(mxnet_import, "numpy_2", lambda: self.numpy_2)
        monkeypatch.setattr(mxnet_import, "_import", self._import_mxnet)
        monkeypatch.setattr(mxnet_devices, "cuda_gpus", self._mxnet_gpus)
        monkeypatch.setattr(choice, "has_torch", lambda: bool(self.torch))
        for module in (environment, packages):
            monkeypatch.setattr(module, "installed", self._version)
        if importlib.util.find_spec("torch"):
            self._fake_torch(monkeypatch, gpus, old_driver)

    def described(self):
        return self.wheels._replace(gpus=tuple(wheels.nvidia_gpus()))

    def install(self, *words):
        """Run `pip install -e '.[extra]'`, or `pip uninstall -y package`."""
        if words[0] == "uninstall":
            self.mxnet = None if words[-1] == "mxnet" else self.mxnet
            self.torch = None if words[-1] == "torch" else self.torch
            return
        extra = words[-1].strip("'")[2:-1]
        known = ("mxnet", "cpu", "cu117", "torch")
        assert extra in wheels.complete([extra], "", self.described(), known).split(",")
        if extra == "torch":
            self.torch = self.torch or "cuda"
        else:
            self.mxnet, self.numpy_2 = {"mxnet": "cpu"}.get(extra, extra), False

    def _import_mxnet(self):
        problem = mxnet_import.installation_problem()
        if problem:
            raise mxnet_import.InputError(f"{problem}; {wheels.how_to_install_mxnet()}")

    def _mxnet_gpus(self):
        return len(self.gpus) if self.mxnet == "cu117" else None

    def _version(self, package):
        if package in ("mxnet", "mxnet-cu117"):
            return "1.9.1" if self.mxnet and package.endswith("cu117") is (
                self.mxnet == "cu117"
            ) else None  # fmt: skip
        return {"cpu": "2.13.0+cpu", "cuda": "2.13.0"}.get(self.torch) if package == "torch" else ""

    def _fake_torch(self, monkeypatch, gpus, old_driver):
        import torch

        from imagenet_trainer.engines.pytorch import devices

        monkeypatch.setattr(devices, "is_cuda_build", lambda: self.torch == "cuda")
        capabilities = [tuple(map(int, gpu.rpartition(", ")[2].split("."))) for gpu in gpus]
        for name, value in {
            # PyTorch's CUDA needs a driver that knows compute capabilities.
            "is_available": lambda: self.torch == "cuda" and bool(gpus) and not old_driver,
            "device_count": lambda: len(gpus),
            "get_device_capability": lambda gpu: capabilities[gpu],
            "get_device_name": lambda gpu: gpus[gpu].rpartition(",")[0],
            "get_arch_list": lambda: ARCHITECTURES,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Makes a FakeMachine."""
    return lambda *gpus, **more: FakeMachine(monkeypatch, tmp_path, *gpus, **more)
