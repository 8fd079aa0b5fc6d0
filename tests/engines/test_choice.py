import pytest
from conftest import message_of
from helpers.fake_gpus import (
    H100,
    V100,
    machine,  # noqa: F401
)

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import TORCHRUN, choose_engine, version_of


def refused(*arguments, **more):
    return message_of(choose_engine, Devices(*arguments, **more))


def test_mxnet_is_preferred(machine):
    machine(torch="cuda")
    assert choose_engine(Devices()).engine == "mxnet"
    machine(V100, V100, mxnet="cu117", torch="cuda")
    assert choose_engine(Devices((0, 1))).engine == "mxnet"


def test_pytorch_if_mxnet_does_not_support_the_gpu(machine):
    machine(H100, mxnet="cu117", torch="cuda")
    found = choose_engine(Devices((0,)))
    assert found.engine == "torch"
    assert found.why == (
        "MXNet cannot: GPU 0 (NVIDIA H100 80GB HBM3) has compute capability 9.0, "
        "but mxnet-cu117 supports 5.0 to 8.9 only"
    )
    machine(H100, mxnet="cu117")
    text = refused((0,))
    assert "9.0" in text and text.endswith("pip install -e '.[torch]'")


@pytest.mark.parametrize("gpus", [(), (0,)])
def test_pytorch_if_mxnet_is_not_installed(machine, gpus):
    machine(V100, mxnet=None, torch="cuda")
    assert choose_engine(Devices(gpus)) == ("torch", "MXNet is not installed")


def test_pytorch_if_mxnet_is_installed_beside_numpy_2(machine):
    machine(numpy_2=True, torch="cpu")
    engine, why = choose_engine(Devices())
    assert engine == "torch" and "NumPy 1" in why
    machine(numpy_2=True)
    assert "NumPy 1" in refused() and "pip install -e '.[mxnet]'" in refused()


def test_neither_engine(machine):
    machine(mxnet=None)
    text = refused()
    assert text.startswith("no engine: MXNet is not installed")
    assert "pip install -e '.[mxnet]'" in text and "pip install -e '.[torch]'" in text
    # What cannot be installed is not recommended.
    machine(mxnet=None, python=(3, 13))
    assert "[mxnet]" not in refused() and "pip install -e '.[torch]'" in refused()
    machine(mxnet=None, kind=("Darwin", "x86_64"))
    assert "pip install -e '.[mxnet]'" in refused() and "[torch]" not in refused()
    machine(mxnet=None, kind=("Darwin", "x86_64"), python=(3, 13))
    assert "pip install" not in refused() and "another Python" in refused()


def test_the_requested_engine_is_used(machine):
    machine(H100, torch="cuda")
    assert choose_engine(Devices((0,), engine="mxnet")).engine == "mxnet"
    assert choose_engine(Devices(engine="torch")).engine == "torch"


def test_the_requested_engine_must_be_installed(machine):
    machine()
    text = refused(engine="torch")
    assert text.startswith("engine torch: PyTorch is not installed")
    assert text.endswith("pip install -e '.[torch]'")
    machine(V100, mxnet=None, torch="cpu")
    text = refused(engine="mxnet")
    assert text.startswith("engine mxnet: MXNet is not installed; use --engine torch, which is ")
    assert text.endswith("pip install -e '.[cu117]'")
    machine(mxnet=None, torch="cpu", python=(3, 14))
    text = refused(engine="mxnet")
    assert "--engine torch" in text and "3.14" in text and "pip install" not in text


def test_workers_of_torchrun_use_pytorch(machine, monkeypatch):
    machine(torch="cuda")
    for name in TORCHRUN:
        monkeypatch.setenv(name, "1")
    assert choose_engine(Devices()) == ("torch", "a launcher started this worker")
    assert choose_engine(Devices(engine="mxnet")).engine == "mxnet"
    machine(H100, mxnet="cu117", torch="cuda")
    for name in TORCHRUN:
        monkeypatch.setenv(name, "1")
    assert choose_engine(Devices((0,))).why.startswith("MXNet cannot: GPU 0 (NVIDIA H100")


def test_versions_are_found_without_an_import(monkeypatch):
    versions = {"mxnet-cu117": "1.9.1", "torch": "2.13.0"}

    def version(package):
        if package not in versions:
            raise metadata.PackageNotFoundError(package)
        return versions[package]

    from imagenet_trainer.engines.choice import metadata

    monkeypatch.setattr(metadata, "version", version)
    assert (version_of("mxnet"), version_of("torch")) == ("1.9.1", "2.13.0")
    versions.clear()
    assert version_of("torch") == "without a version"
