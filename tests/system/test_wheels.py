import pytest
from conftest import ROOT
from helpers.fake_gpus import (
    A100,
    B200,
    H100,
    K80,
    L4,
    P100,
    T4,
    V100,
    answers,
    fake_nvidia_smi,
)

from imagenet_trainer.errors import InputError
from imagenet_trainer.system import wheels
from imagenet_trainer.system.gpus import Gpu
from imagenet_trainer.system.wheels import (
    Machine,
    complete,
    engine_extra,
    how_to_install,
    runs_on,
)

LINUX, ARM, OTHER = ("Linux", "x86_64"), ("Linux", "aarch64"), ("Linux", "riscv64")
MUSL = ("Linux without glibc", "x86_64")
INTEL_MAC, APPLE = ("Darwin", "x86_64"), ("Darwin", "arm64")
KNOWN = ("mxnet", "cpu", "cu117", "torch", "test", "export")


def machine_with(python=(3, 11), kind=LINUX, *capabilities):
    return Machine(python, *kind, tuple(Gpu("GPU", each) for each in capabilities))


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((3, 5), False), ((3, 7), False), ((5, 0), True), ((5, 2), True), ((6, 0), True),
        ((6, 1), True), ((7, 0), True), ((7, 5), True), ((8, 0), True), ((8, 6), True),
        ((8, 9), True), ((9, 0), False), ((10, 0), False), ((12, 0), False), (None, True),
    ],
)  # fmt: skip
def test_compute_capabilities_of_the_wheel(capability, runs):
    assert runs_on(capability) is runs


@pytest.mark.parametrize("python", [(3, 9), (3, 10), (3, 11), (3, 12)])
@pytest.mark.parametrize("kind", [LINUX, ARM, INTEL_MAC])
def test_mxnet_where_it_has_a_build(python, kind):
    assert engine_extra(machine_with(python, kind)) == "mxnet"


@pytest.mark.parametrize(
    ("python", "kind"), [((3, 13), LINUX), ((3, 14), ARM), ((3, 9), APPLE), ((3, 14), APPLE)]
)
def test_pytorch_where_mxnet_has_no_build(python, kind):
    assert engine_extra(machine_with(python, kind)) == "torch"


@pytest.mark.parametrize(
    ("python", "kind"), [((3, 13), INTEL_MAC), ((3, 11), OTHER), ((3, 11), MUSL), ((3, 8), MUSL)]
)
def test_the_reason_where_neither_has_a_build(python, kind):
    with pytest.raises(InputError) as error:
        engine_extra(machine_with(python, kind))
    text = str(error.value)
    assert "MXNet" in text and "PyTorch" in text and "\n" not in text
    assert "pip install" not in how_to_install(machine_with(python, kind))


@pytest.mark.parametrize(
    ("capabilities", "extra"),
    [
        ([], "mxnet"), ([(5, 0)], "cu117"), ([(7, 0)], "cu117"), ([(8, 9)], "cu117"),
        ([(9, 0)], "torch"), ([(10, 0)], "torch"), ([(12, 0)], "torch"),
        # A GPU that MXNet can use comes first; old ones are used by neither.
        ([(9, 0), (7, 0)], "cu117"), ([(3, 7)], "mxnet"), ([(3, 7), (8, 0)], "cu117"),
        # A driver that does not tell is too old for PyTorch, not for MXNet.
        ([None], "cu117"),
    ],
)  # fmt: skip
def test_the_engine_for_gpus(capabilities, extra):
    assert engine_extra(machine_with((3, 11), LINUX, *capabilities)) == extra


@pytest.mark.parametrize(
    ("gpu", "driver", "extra", "remark"),
    [
        (K80, "470.82.01", "mxnet", "no engine"), (P100, "470.82.01", "cu117", ""),
        (V100, "450.80.02", "cu117", ""), (T4, "418.67", "cu117", "450.80 or later"),
        (A100, "535.104.05", "cu117", ""), (L4, "550.54.15", "cu117", ""),
        (H100, "535.104.05", "torch", "580 or later"), (H100, "580.65.06", "torch", ""),
        (B200, "580.65.06", "torch", ""),
    ],
)  # fmt: skip
def test_every_generation_of_gpus(gpu, driver, extra, remark, monkeypatch, tmp_path, capsys):
    fake_nvidia_smi(monkeypatch, tmp_path, answers(gpu, driver=driver))
    monkeypatch.setattr(wheels, "this_machine", lambda: wheels.Machine(
        (3, 11), *LINUX, tuple(wheels.nvidia_gpus())
    ))  # fmt: skip
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("ENGINE", raising=False)
    assert wheels.main([""]) == 0
    out, err = capsys.readouterr()
    assert out == f"{extra}\n" and err.count("\n") == bool(remark) and remark in err


def test_mxnet_has_no_cuda_build_for_arm():
    assert engine_extra(machine_with((3, 11), ARM, (8, 0))) == "torch"
    assert engine_extra(machine_with((3, 11), ARM, (7, 2))) == "mxnet"
    assert engine_extra(machine_with((3, 13), LINUX, (8, 0))) == "torch"


@pytest.mark.parametrize(
    ("extras", "engine", "machine", "wanted"),
    [
        ([], "", machine_with(), "mxnet"),
        (["test"], "", machine_with(), "mxnet,test"),
        (["test"], "torch", machine_with(), "torch,test"),
        (["torch", "test"], "", machine_with(), "mxnet,torch,test"),
        (["torch"], "", machine_with((3, 13)), "torch"),
        (["cpu"], "", machine_with(), "cpu"),
        (["cpu", "torch"], "", machine_with((3, 11), LINUX, (9, 0)), "cpu,torch"),
        ([], "", machine_with((3, 11), LINUX, (9, 0)), "torch"),
        ([], "mxnet", machine_with((3, 11), LINUX, (9, 0)), "mxnet"),
        ([], "mxnet", machine_with((3, 11), LINUX, (8, 0)), "cu117"),
    ],
)
def test_extras_are_completed_by_an_engine(extras, engine, machine, wanted):
    assert complete(extras, engine, machine, KNOWN) == wanted


@pytest.mark.parametrize(
    ("extras", "engine", "machine", "parts"),
    [
        (["mxnet"], "", machine_with((3, 13)), ["Python 3.9 to 3.12", "PYTHON="]),
        (["cpu", "test"], "", machine_with((3, 14)), ["Python 3.9 to 3.12", "omit"]),
        ([], "mxnet", machine_with((3, 13)), ["Python 3.9 to 3.12"]),
        (["mxnet"], "", machine_with((3, 11), APPLE), ["macOS on arm64", "omit"]),
        (["cu117"], "", machine_with((3, 11), INTEL_MAC), ["CUDA", "omit cu117"]),
        (["torch"], "", machine_with((3, 11), INTEL_MAC), ["PyTorch", "omit torch"]),
        ([], "torch", machine_with((3, 11), INTEL_MAC), ["PyTorch"]),
        (["tset"], "", machine_with(), ["tset", "test"]),
        ([], "tensorflow", machine_with(), ["ENGINE=tensorflow", "mxnet or torch"]),
    ],
)
def test_refused_at_once(extras, engine, machine, parts):
    with pytest.raises(InputError) as error:
        complete(extras, engine, machine, KNOWN)
    assert all(part in str(error.value) for part in parts)
    assert "\n" not in str(error.value)


def test_where_a_wheel_is_installed_pip_knows_its_extras(monkeypatch):
    assert wheels.pip_install("umap") == "in the checkout run: pip install -e '.[umap]'"
    monkeypatch.setattr(wheels, "_IS_CHECKOUT", False)
    assert wheels.pip_install("umap") == "run: pip install 'imagenet-trainer[umap]'"
