import pytest
from helpers.fake_gpus import (
    H100,
    V100,
    machine,  # noqa: F401
)

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import TORCHRUN, choose_engine
from imagenet_trainer.errors import InputError


def test_mxnet_is_preferred(machine):
    machine()
    assert choose_engine(Devices()).engine == "mxnet"
    machine(V100, V100, cuda=True)
    assert choose_engine(Devices((0, 1))).engine == "mxnet"


def test_pytorch_if_mxnet_does_not_support_the_gpu(machine):
    machine(H100, cuda=True)
    found = choose_engine(Devices((0,)))
    assert found.engine == "torch"
    assert found.why == (
        "MXNet cannot: GPU 0 (NVIDIA H100 80GB HBM3) has compute capability 9.0, "
        "but mxnet-cu117 supports 5.0 to 8.9 only"
    )
    machine(H100, cuda=True, torch=False)
    with pytest.raises(InputError, match=r"9\.0, .*PyTorch.*\[torch\]"):
        choose_engine(Devices((0,)))


def test_the_requested_engine_is_used(machine):
    machine(H100)
    assert choose_engine(Devices((0,), engine="mxnet")).engine == "mxnet"
    assert choose_engine(Devices(engine="torch")).engine == "torch"
    machine(torch=False)
    with pytest.raises(InputError, match=r"^engine torch: PyTorch is not installed"):
        choose_engine(Devices(engine="torch"))


def test_workers_of_torchrun_use_pytorch(machine, monkeypatch):
    machine()
    for name in TORCHRUN:
        monkeypatch.setenv(name, "1")
    assert choose_engine(Devices()) == ("torch", "torchrun started this worker")
    assert choose_engine(Devices(engine="mxnet")).engine == "mxnet"
    machine(H100, cuda=True)
    for name in TORCHRUN:
        monkeypatch.setenv(name, "1")
    assert choose_engine(Devices((0,))).why.startswith("MXNet cannot: GPU 0 (NVIDIA H100")
