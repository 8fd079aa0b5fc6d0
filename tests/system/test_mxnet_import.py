import ctypes
import importlib
import os

import numpy as np
import pytest
from conftest import ROOT, needs_mxnet, one_line_error, run

from imagenet_trainer.system import cuda_wheels, mxnet_import, wheels
from imagenet_trainer.system.mxnet_import import import_remedy, mx, quantization

# --- around the import ----------------------------------------------------------------------------


@pytest.fixture
def with_mxnet(tmp_path):
    """Environment of a process in which `import mxnet` runs one statement."""

    def environment(statement):
        (tmp_path / "mxnet.py").write_text(statement + "\n")
        # PyTorch, whose import takes longer than all else, is not the point.
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
        return {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}

    return environment


@needs_mxnet
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


@needs_mxnet
def test_mxnet_is_imported_at_its_first_use(with_mxnet):
    program = (
        "import sys, imagenet_trainer.fit, imagenet_trainer.train.loop\n"
        "from imagenet_trainer.system.mxnet_import import mx\n"
        "print('mxnet' in sys.modules, mx.answer, 'mxnet' in sys.modules)"
    )
    result = run("-c", program, env=with_mxnet("answer = 42"))
    assert result.stdout.split() == ["False", "42", "True"]


@needs_mxnet
def test_optional_packages_are_hidden_from_mxnet_only(with_mxnet):
    statement = "try:\n    import scipy.stats as nd\nexcept ImportError:\n    nd = None"
    program = (
        "import importlib.util\n"
        "from imagenet_trainer.system.mxnet_import import mx\n"
        "print(mx.nd, importlib.util.find_spec('scipy.stats') is not None)"
    )
    assert run("-c", program, env=with_mxnet(statement)).stdout.split() == ["None", "True"]


@needs_mxnet
def test_the_entropy_mode_of_quantization_has_what_it_needs():
    assert quantization().stats.entropy([0.5, 0.5]) == pytest.approx(np.log(2))


@needs_mxnet
def test_numpys_aliases_are_restored():
    for name, kind in (("bool", bool), ("int", int), ("float", float), ("object", object)):
        assert getattr(np, name) is kind
    # MXNet 1.9.1 needs them for this.
    assert mx.nd.array(np.ones(3, bool)).asnumpy().tolist() == [1, 1, 1]


def test_numpy_2_is_refused(monkeypatch):
    monkeypatch.setattr(np, "__version__", "2.1.0")
    monkeypatch.setattr(mxnet_import, "is_installed", lambda: True)
    machine = wheels.Machine((3, 11), "Linux", "x86_64")
    monkeypatch.setattr(wheels, "this_machine", lambda: machine)
    text = mxnet_import.import_problem()
    assert "NumPy 2.1.0" in text and text.endswith("pip install -e '.[mxnet]'")


def test_cuda_wheels_are_loaded_in_the_order_of_their_dependencies(monkeypatch, tmp_path):
    names = ("cudnn/lib/libcudnn.so.8", "cublas/lib/libcublas.so.11", "nccl/lib/libnccl.so.2")
    for name in (*names, "cuda_runtime/lib/libcudart.so.11.0", "cublas/include/cublas.h"):
        path = tmp_path / "nvidia" / name
        path.parent.mkdir(parents=True)
        path.write_text("no library")
    loaded = []

    def load(path, mode):
        if path.startswith(str(tmp_path)):
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
        (missing("distutils"), ["distutils", "pip install 'setuptools<81'"]),
        (cannot_open("libquadmath.so.0"), ["libquadmath", "apt-get install libquadmath0"]),
        (cannot_open("libgomp.so.1"), ["libgomp", "apt-get install libgomp1"]),
        (cannot_open("libcuda.so.1"), ["driver", "libcuda.so.1", "--gpus all", ".[mxnet]"]),
        (cannot_open("libcudnn.so.8"), ["libcudnn.so.8", ".[cu117]", ".[mxnet]"]),
        (missing("requests"), ["requests", "imagenet_trainer.doctor"]),
    ],
)
def test_every_failed_import_has_a_remedy(error, parts):
    text = import_remedy(error)
    assert "\n" not in text
    assert all(part in text for part in parts)


def test_a_machine_without_an_engine(tmp_path, fit_words):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; sys.modules['mxnet'] = sys.modules['torch'] = None\n"
    )
    hidden = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    result = run(
        "-m", "imagenet_trainer.fit", *fit_words, "--model-prefix", tmp_path / "run" / "model",
        env=hidden, check=None,
    )  # fmt: skip
    one_line_error(result, "fit: error: ", "MXNet is not installed", "pip install -e '.[torch]'")
    result = run("-m", "imagenet_trainer.doctor", env=hidden, check=1)
    assert result.stderr == ""
    assert result.stdout.splitlines()[-2] == "engine: none"
    assert "pip install -e '.[torch]'" in result.stdout.splitlines()[-1]


@needs_mxnet
def test_the_doctor_with_a_broken_mxnet(with_mxnet):
    broken = with_mxnet("raise OSError('libquadmath.so.0: cannot open shared object file')")
    result = run("-m", "imagenet_trainer.doctor", env=broken, check=None)
    assert "MXNet needs libquadmath; run: apt-get install libquadmath0" in result.stdout


@needs_mxnet
@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_NUM_THREADS", "abc"), ("OMP_NUM_THREADS", "4,2"), ("PYTHONOPTIMIZE", "2")],
)
def test_what_the_import_does_not_survive(name, value):
    program = (
        "from imagenet_trainer.errors import run_command\n"
        "from imagenet_trainer.system.mxnet_import import mx\n"
        "raise SystemExit(run_command('x', lambda: mx.nd))"
    )
    done = run("-c", program, env={name: value}, check=2)
    assert f"x: error: {name}={value}" in done.stderr and "unset it" in done.stderr
