import configparser
import re
from importlib import util

import numpy as np
import pytest
from conftest import ROOT, run
from helpers.fake_gpus import (
    A100,
    H100,
    K80,
    V100,
    answers,
    fake_nvidia_smi,
    machine,  # noqa: F401
)

from imagenet_trainer import __version__, doctor
from imagenet_trainer.benchmarks import environment, packages
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.choice import choose_engine
from imagenet_trainer.engines.mxnet import devices as mxnet_devices
from imagenet_trainer.errors import InputError
from imagenet_trainer.system import wheels
from imagenet_trainer.system.gpus import driver_version, nvidia_gpus


@pytest.fixture
def report(machine, capsys):
    """Lines of doctor on a machine."""

    def run_doctor(*gpus, code=0, **more):
        machine(*gpus, **more)
        assert doctor.main([]) == code
        return capsys.readouterr().out.splitlines()

    return run_doctor


def test_installed_packages(report):
    lines = report()
    assert [line.split(maxsplit=1)[1] for line in lines if line.startswith("  mxnet")] == [
        "1.9.1", "not installed",
    ]  # fmt: skip
    assert any(line.startswith("processors: ") for line in lines)
    assert any(line.startswith("OpenMP threads: ") for line in lines)


def test_a_package_that_is_not_installed():
    assert packages.installed("no-such-package") is None


def test_the_packages_are_those_of_the_installation():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["install_requires"].splitlines()
    names = {re.match(r"[\w-]+", line)[0] for line in lines if line and not line.startswith("#")}
    assert {*packages.REQUIRED} == names and packages.missing() == []


BROKEN = """\
import sys
# As if they were not installed; PyTorch's import takes a second.
sys.modules.update(dict.fromkeys({missing}))
if "mxnet" in {engines}:
    sys.modules["torch"] = None
from imagenet_trainer import doctor
sys.exit(doctor.main([]))
"""


@pytest.mark.parametrize("missing", [("datashader", "psutil"), ("numpy", "cv2", "yaml")])
def test_it_works_where_a_package_is_missing(missing):
    engines = [name for name in ("mxnet", "torch") if util.find_spec(name)]
    done = run("-c", BROKEN.format(missing=missing, engines=engines), check=1)
    assert not done.stderr
    todo = [line for line in done.stdout.splitlines() if line.startswith("to do: ")]
    names = {module: package for package, module in packages.REQUIRED.items()}
    assert [line.split()[2] for line in todo] == [names[one] for one in missing]
    assert all("not installed" in line and "pip install" in line for line in todo)
    assert done.stdout.startswith(f"imagenet-trainer {__version__}, Python 3.")
    assert f"  numpy                   {np.__version__}\n" in done.stdout
    found = re.search(r"^engine: (MXNet|PyTorch) on ", done.stdout, re.MULTILINE)
    assert bool(found) == ("numpy" not in missing)


def test_the_function_returns_what_it_prints(machine, capsys, torch):
    machine(H100, V100, mxnet="cu117")
    found = doctor()
    lines = capsys.readouterr().out.splitlines()
    assert (found.engine, [*found.engine_gpus], [*found.to_do]) == ("mxnet", [1], [])
    assert [gpu.capability for gpu in found.gpus] == [(9, 0), (7, 0)]
    assert f"processors: {found.processors}" in lines and lines[-1] in found.remarks
    assert any("GPU 0" in one for one in found.remarks) and found.packages["torch"] is None
    machine(mxnet=None)
    found = doctor()
    assert found.engine == "" and f"to do: {found.to_do[0]}" in capsys.readouterr().out
    with pytest.raises(InputError, match="--gpus: is for --plan"):
        doctor(gpus=(1,))


def test_threads_that_are_no_number(report, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert "OpenMP threads: 4,2" in report() and doctor().openmp_threads == 0


def test_no_gpu(report):
    gpus, engine = report()[-2:]
    assert gpus.startswith("GPUs: none") and engine == "engine: MXNet on the CPU"


def test_a_gpu_that_another_build_of_mxnet_supports(report):
    lines = report(V100)
    assert "GPU 0: Tesla V100-SXM2-16GB, compute capability 7.0" in lines
    assert lines[-2].endswith("pip uninstall -y mxnet; pip install -e '.[cu117]'")
    assert lines[-1] == "engine: MXNet on the CPU"


@pytest.mark.parametrize("mxnet", ["cpu", "cu117"])
def test_a_gpu_that_no_mxnet_supports(report, mxnet):
    lines = report(H100, mxnet=mxnet)
    assert "GPU 0: NVIDIA H100 80GB HBM3, compute capability 9.0" in lines
    assert "5.0 to 8.9" in lines[-3] and lines[-2].endswith("pip install -e '.[torch]'")
    assert lines[-1] == "engine: MXNet on the CPU"


def test_two_gpus(report):
    lines = report(V100, V100, mxnet="cu117")
    assert lines[-1] == "engine: MXNet on GPUs; add --gpus 0,1"


def test_one_of_two_gpus(report):
    lines = report(H100, V100, mxnet="cu117")
    assert "GPU 0 (NVIDIA H100 80GB HBM3)" in lines[-2]
    assert lines[-1] == "engine: MXNet on GPUs; add --gpus 1"
    # With MXNet for CPUs, the other build helps one of them.
    assert report(H100, V100)[-2].endswith("pip uninstall -y mxnet; pip install -e '.[cu117]'")


def test_an_old_driver_is_a_driver(report):
    lines = report(V100, old_driver=True)
    assert any(line.startswith("GPU 0: Tesla V100-SXM2-16GB, of unknown") for line in lines)
    assert lines[-2].endswith("pip uninstall -y mxnet; pip install -e '.[cu117]'")


def test_a_gpu_that_is_too_old(report):
    lines = report(K80)
    assert "no engine" in lines[-2] and lines[-1] == "engine: MXNet on the CPU"


def test_a_driver_that_is_too_old_and_a_gpu_that_is_split(monkeypatch, tmp_path):
    script = answers(A100, A100, driver="418.67", mig=("Disabled", "Enabled"))
    fake_nvidia_smi(monkeypatch, tmp_path, script)
    found = wheels.Machine((3, 11), "Linux", "x86_64", tuple(nvidia_gpus()))
    lines = environment.gpu_remarks(found, driver_version())
    assert "418.67" in lines[0] and "450.80" in lines[0]
    assert lines[1].startswith("GPU 1: split") and "CUDA_VISIBLE_DEVICES=MIG-" in lines[1]
    assert environment.gpu_remarks(wheels.Machine((3, 11), "Linux", "x86_64"), "") == []


def test_no_engine(report):
    assert report(mxnet=None, code=1)[-2:] == [
        "engine: none",
        "to do: no engine is installed; in the checkout run: pip install -e '.[mxnet]' (MXNet) "
        "or pip install -e '.[torch]' (PyTorch)",
    ]
    todo = report(mxnet=None, python=(3, 13), code=1)[-1]
    assert "[mxnet]" not in todo and "pip install -e '.[torch]'" in todo
    todo = report(mxnet="cpu", numpy_2=True, code=1)[-1]
    assert "NumPy 1" in todo and todo.endswith("pip install -e '.[mxnet]'")


# --- PyTorch --------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def test_both_engines_on_a_cpu(report, torch):
    assert report(torch="cpu")[-1].endswith("--engine torch")


def test_pytorch_alone(report, torch):
    assert report(mxnet=None, torch="cpu")[-1] == "engine: PyTorch on the CPU"
    lines = report(H100, mxnet=None, torch="cuda")
    assert lines[-1] == "engine: PyTorch on GPUs; add --gpus 0"


def test_pytorch_where_mxnet_cannot(report, torch):
    lines = report(H100, torch="cuda")
    assert lines[-1] == "engine: PyTorch on GPUs; add --gpus 0"
    # MXNet is the default, but NumPy 2 was installed for PyTorch.
    lines = report(torch="cuda", numpy_2=True)
    assert "NumPy 1" in lines[-2] and lines[-1] == "engine: PyTorch on the CPU"


def test_a_pytorch_for_cpus_is_replaced(report, torch):
    lines = report(H100, torch="cpu")
    assert any("is built for the CPU" in line for line in lines)
    assert lines[-2].endswith("pip uninstall -y torch; pip install -e '.[torch]'")


KINDS = (
    ((3, 11), ("Linux", "x86_64")),
    ((3, 13), ("Linux", "x86_64")),
    ((3, 11), ("Linux", "aarch64")),
    ((3, 12), ("Darwin", "arm64")),
    ((3, 12), ("Darwin", "x86_64")),
)
MACHINES = [
    (gpus, {"mxnet": mxnet, "torch": torch, "old_driver": old, "python": python, "kind": kind})
    for gpus in ((), (V100,), (H100,), (K80,), (H100, V100), (V100, V100))
    for mxnet in (None, "cpu", "cu117")
    for torch in (None, "cpu", "cuda")
    for old in (False, True)
    for python, kind in KINDS
    # A build that is installed exists for the machine, and an H100 has a newer driver.
    if not (mxnet and (python == (3, 13) or kind[1] == "arm64"))
    and not (mxnet == "cu117" and kind != ("Linux", "x86_64"))
    and not (torch and kind == ("Darwin", "x86_64"))
    and not (gpus and kind[0] == "Darwin")
    and not (old and H100 in gpus)
]


def test_every_recommendation_works(machine, torch, capsys):
    """Flags are accepted by the engine that `fit` chooses; commands install what is missing."""
    from imagenet_trainer.engines.pytorch import devices as torch_devices

    problems = {"mxnet": mxnet_devices.gpu_problem, "torch": torch_devices.gpu_problem}
    kinds = set()
    for gpus, about in MACHINES:
        here = machine(*gpus, **about)
        for _ in range(3):
            doctor.main([])
            lines = capsys.readouterr().out.splitlines()
            flags = dict(re.findall(r"--(gpus|engine) (\S+)", lines[-1]))
            kinds.update(flags)
            if lines[-1].startswith("engine: "):
                numbers = tuple(map(int, filter(None, flags.get("gpus", "").split(","))))
                chosen = choose_engine(Devices(numbers, engine=flags.get("engine", "auto"))).engine
                assert not numbers or problems[chosen](numbers) is None, (gpus, about, lines)
            commands = [words for line in lines for words in recommended(line)]
            for words in commands:
                here.install(*words)  # refuses what has no build for this machine
                kinds.add((words[0], words[-1]))
            if not commands:
                break
        else:
            raise AssertionError(f"the advice does not end: {gpus}, {about}, {lines}")
        # Then the GPUs are used, or the reason is there.
        if gpus and "gpus" not in flags and lines[-1].startswith("engine: "):
            reasons = ("no engine that can", "finds no GPU")
            assert any(reason in line for reason in reasons for line in lines), (gpus, about, lines)
    assert kinds >= {
        "gpus", "engine", ("install", "'.[mxnet]'"), ("install", "'.[cu117]'"),
        ("install", "'.[torch]'"), ("uninstall", "mxnet"), ("uninstall", "torch"),
    }  # fmt: skip


def recommended(line):
    """Words of the pip commands of a line; of alternatives (`or`) the first."""
    commands = line.partition("in the checkout run: ")[2].split(" or ")[0].split(" (")[0]
    return [command.split()[1:] for command in commands.split("; ") if command]
