import ctypes
import importlib
import os

import numpy as np
import pytest
from conftest import ROOT, one_line_error, run
from helpers.fake_gpus import H100, V100, build_with, fake_nvidia_smi, show

from imagenet_trainer.errors import InputError
from imagenet_trainer.system import cuda_wheels, mxnet_import
from imagenet_trainer.system.mxnet_import import (
    gpu_problem,
    import_remedy,
    mx,
    nvidia_gpus,
    quantization,
    runs_on,
)

# --- around the import ----------------------------------------------------------------------------


@pytest.fixture
def with_mxnet(tmp_path):
    """Environment of a process in which `import mxnet` runs one statement."""

    def environment(statement):
        (tmp_path / "mxnet.py").write_text(statement + "\n")
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    return environment


def test_openmp_uses_the_processors_of_the_process(with_mxnet):
    def threads(before):
        """OMP_NUM_THREADS as MXNet finds it."""
        environment = with_mxnet("import os; print(os.environ['OMP_NUM_THREADS']); nd = 0")
        imported = "from imagenet_trainer.system.mxnet_import import mx"
        program = f"import os; {before}; {imported}; mx.nd"
        return int(run("-c", program, env=environment).stdout)

    unset = "os.environ.pop('OMP_NUM_THREADS', None)"
    assert threads(unset) == len(os.sched_getaffinity(0))
    assert threads(f"{unset}; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}})") == 1
    assert threads("os.environ['OMP_NUM_THREADS'] = '7'") == 7


def test_mxnet_is_imported_at_its_first_use(with_mxnet):
    program = (
        "import sys, imagenet_trainer.fit, imagenet_trainer.train.loop\n"
        "from imagenet_trainer.system.mxnet_import import mx\n"
        "print('mxnet' in sys.modules, mx.answer, 'mxnet' in sys.modules)"
    )
    result = run("-c", program, env=with_mxnet("answer = 42"))
    assert result.stdout.split() == ["False", "42", "True"]


def test_optional_packages_are_hidden_from_mxnet_only(with_mxnet):
    statement = "try:\n    import scipy.stats as nd\nexcept ImportError:\n    nd = None"
    program = (
        "import importlib.util\n"
        "from imagenet_trainer.system.mxnet_import import mx\n"
        "print(mx.nd, importlib.util.find_spec('scipy.stats') is not None)"
    )
    assert run("-c", program, env=with_mxnet(statement)).stdout.split() == ["None", "True"]


def test_the_entropy_mode_of_quantization_has_what_it_needs():
    assert quantization().stats.entropy([0.5, 0.5]) == pytest.approx(np.log(2))


def test_numpys_aliases_are_restored():
    for name, kind in (("bool", bool), ("int", int), ("float", float), ("object", object)):
        assert getattr(np, name) is kind
    # MXNet 1.9.1 needs them for this.
    assert mx.nd.array(np.ones(3, bool)).asnumpy().tolist() == [1, 1, 1]


def test_numpy_2_is_refused(monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.1.0")
    with pytest.raises(InputError, match=r"NumPy 2\.1\.0 .*pip install 'numpy<2'"):
        mxnet_import._restore_numpy_aliases()


def test_cuda_wheels_are_loaded_in_the_order_of_their_dependencies(monkeypatch, tmp_path):
    names = ("cudnn/lib/libcudnn.so.8", "cublas/lib/libcublas.so.11", "nccl/lib/libnccl.so.2")
    for name in (*names, "cuda_runtime/lib/libcudart.so.11.0", "cublas/include/cublas.h"):
        path = tmp_path / "nvidia" / name
        path.parent.mkdir(parents=True)
        path.write_text("no library")
    loaded = []

    def load(path, mode):
        loaded.append(os.path.basename(path))
        assert mode == ctypes.RTLD_GLOBAL
        if "cudart" in path:
            raise OSError("it needs a driver")

    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    monkeypatch.setattr(ctypes, "CDLL", load)
    cuda_wheels.load_cuda_wheels()
    wanted = ["libcudart.so.11.0", "libcublas.so.11", "libcudnn.so.8", "libnccl.so.2"]
    assert [name for name in loaded if name in wanted] == wanted


# --- failures of the import -----------------------------------------------------------------------


def missing(name):
    return ModuleNotFoundError(f"No module named '{name}'", name=name)


def cannot_open(library):
    return OSError(f"{library}: cannot open shared object file: No such file or directory")


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (missing("mxnet"), ["not installed", "pip install -e '.[cpu]'", ".[cu117]"]),
        (missing("distutils"), ["distutils", "pip install 'setuptools<81'"]),
        (cannot_open("libquadmath.so.0"), ["libquadmath", "apt-get install libquadmath0"]),
        (cannot_open("libgomp.so.1"), ["libgomp", "apt-get install libgomp1"]),
        (cannot_open("libcuda.so.1"), ["driver", "libcuda.so.1", "pip install mxnet==1.9.1"]),
        (cannot_open("libcudnn.so.8"), ["libcudnn.so.8", ".[cu117]", ".[cpu]"]),
        (missing("requests"), ["requests", "imagenet_trainer.doctor"]),
    ],
)
def test_every_failed_import_has_a_remedy(error, parts):
    text = import_remedy(error)
    assert "\n" not in text
    assert all(part in text for part in parts)


MISSING = "raise ModuleNotFoundError('No module', name='mxnet')"


def test_fit_without_mxnet(with_mxnet, fit_words, tmp_path):
    result = run(
        "-m", "imagenet_trainer.fit", *fit_words, "--model-prefix", tmp_path / "run" / "model",
        env=with_mxnet(MISSING), check=None,
    )  # fmt: skip
    one_line_error(result, "fit: error: MXNet is not installed", "pip install -e '.[cpu]'")


def test_the_doctor_without_mxnet(with_mxnet):
    result = run("-m", "imagenet_trainer.doctor", env=with_mxnet(MISSING), check=1)
    assert result.stderr == ""
    assert "engine: none\nto do: MXNet is not installed; " in result.stdout
    broken = with_mxnet("raise OSError('libquadmath.so.0: cannot open shared object file')")
    result = run("-m", "imagenet_trainer.doctor", env=broken, check=1)
    assert "to do: MXNet needs libquadmath; run: apt-get install libquadmath0" in result.stdout


# --- GPUs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((3, 5), False), ((3, 7), False), ((5, 0), True), ((5, 2), True), ((6, 0), True),
        ((6, 1), True), ((7, 0), True), ((7, 5), True), ((8, 0), True), ((8, 6), True),
        ((8, 9), True), ((9, 0), False), ((10, 0), False), ((12, 0), False),
    ],
)  # fmt: skip
def test_compute_capabilities_of_the_wheel(capability, runs):
    assert runs_on(capability) is runs


def test_gpus_are_read_from_nvidia_smi(monkeypatch, tmp_path):
    fake_nvidia_smi(monkeypatch, tmp_path, show(V100, "Board, with comma, 8.6", H100))
    assert nvidia_gpus() == [
        ("Tesla V100-SXM2-16GB", (7, 0)),
        ("Board, with comma", (8, 6)),
        ("NVIDIA H100 80GB HBM3", (9, 0)),
    ]


@pytest.mark.parametrize(
    "script", ["true", "echo 'No devices were found'; exit 6", f"{show(V100)}; exit 9"]
)
def test_no_gpus(monkeypatch, tmp_path, script):
    fake_nvidia_smi(monkeypatch, tmp_path, script)
    assert nvidia_gpus() == []


def test_no_nvidia_smi(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia_gpus() == []


def test_an_mxnet_for_the_cpu(monkeypatch, tmp_path):
    build_with(monkeypatch, cuda=False)
    fake_nvidia_smi(monkeypatch, tmp_path, "exit 9")
    text = gpu_problem((0, 1))
    assert "build for CPUs" in text and "driver" in text
    fake_nvidia_smi(monkeypatch, tmp_path, show(V100))
    assert "pip uninstall -y mxnet; pip install -e '.[cu117]'" in gpu_problem((0,))
    # Another build of MXNet would not help.
    fake_nvidia_smi(monkeypatch, tmp_path, show(H100))
    text = gpu_problem((0,))
    assert "compute capability 9.0" in text and "cu117]" not in text


def test_an_mxnet_with_cuda(monkeypatch, tmp_path):
    build_with(monkeypatch, cuda=True, count=2)
    fake_nvidia_smi(monkeypatch, tmp_path, show(V100, H100))
    assert gpu_problem((0,)) is None
    text = gpu_problem((0, 1))
    assert text.startswith("GPU 1 (NVIDIA H100 80GB HBM3)") and "9.0" in text
    assert "5.0 to 8.9" in text
    assert gpu_problem((2,)).startswith("there is no GPU 2")
    # Without nvidia-smi, MXNet's own count decides.
    fake_nvidia_smi(monkeypatch, tmp_path, "exit 9")
    assert gpu_problem((0, 1)) is None
