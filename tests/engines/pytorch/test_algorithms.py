import importlib.util
import os
import shutil
import sys
import sysconfig
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import assert_same, batches, everything, network, open_one, train

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.pytorch import graph, workers
from imagenet_trainer.engines.pytorch.algorithms import deterministic_errors, set_algorithms
from imagenet_trainer.engines.pytorch.devices import autocast_type, is_compiled
from imagenet_trainer.engines.pytorch.step import compiled
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.engine import devices_of

CACHE = "TORCHINDUCTOR_CACHE_DIR"
NAMES = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO")


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Remove the variables, and end with PyTorch's settings of other engines."""
    for name in (*NAMES, CACHE):
        monkeypatch.setenv(name, "")  # so that a value set by the code is removed afterwards
        monkeypatch.delenv(name)
    yield
    set_algorithms(Devices())


def deterministic(symbol, **more):
    return open_one("torch", symbol, devices={"deterministic": True}, **more)


def test_the_flag_reaches_pytorch():
    assert devices_of(FitSettings(deterministic=True)).deterministic
    deterministic(network())
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert [os.environ[name] for name in NAMES] == [":4096:8", "Ring"]


def test_without_it_cudnn_measures_and_chooses():
    deterministic(network())
    open_one("torch", network())
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic


def test_a_cpu_starts_without_pytorchs_compiler(monkeypatch):
    """Both import it, which takes a second."""
    monkeypatch.setattr(graph, "FakeTensorMode", None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", None)
    train(open_one("torch", network()), batches(1))


def test_cublas_may_have_to_repeat_later_in_the_process():
    # PyTorch reads the variable once, at the first product of matrices on a GPU.
    set_algorithms(Devices((0,)))
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == ":4096:8" and "NCCL_ALGO" not in os.environ


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_compiling_measures_and_how_often_it_compiles(monkeypatch, deterministic):
    dynamo = SimpleNamespace(recompile_limit=8)
    inductor = SimpleNamespace(deterministic=None)
    monkeypatch.setitem(sys.modules, "torch._dynamo.config", dynamo)
    monkeypatch.setitem(sys.modules, "torch._inductor.config", inductor)
    monkeypatch.setattr(torch, "compile", lambda module, mode, dynamic: (module, mode, dynamic))
    set_algorithms(Devices(deterministic=deterministic))
    assert compiled("network", True) == ("network", "reduce-overhead", False)
    assert compiled("network") == ("network", "default", False)
    assert inductor.deterministic is deterministic and dynamo.recompile_limit > 100
    # An older PyTorch, and a limit of the user.
    dynamo, inductor = SimpleNamespace(cache_size_limit=1000), SimpleNamespace()
    monkeypatch.setitem(sys.modules, "torch._dynamo.config", dynamo)
    monkeypatch.setitem(sys.modules, "torch._inductor.config", inductor)
    compiled("network")
    assert dynamo.cache_size_limit == 1000 and not vars(inductor)


def test_the_user_s_variables_are_kept(monkeypatch):
    monkeypatch.setenv("NCCL_ALGO", "Tree")
    deterministic(network())
    assert os.environ["NCCL_ALGO"] == "Tree"


def test_it_is_set_before_workers_connect(monkeypatch):
    class Joined(Exception):
        pass

    def join(device):
        assert os.environ["NCCL_ALGO"] == "Ring"
        raise Joined

    for name in workers.is_torch_worker.__globals__["TORCHRUN"]:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(workers, "TorchWorkers", join)
    with pytest.raises(Joined):
        workers.join_torchrun(Devices(deterministic=True))


def test_a_run_repeats_bit_for_bit():
    symbol = network(batch_norm=True, dropout=0.5)
    one = train(deterministic(symbol), batches())
    torch.rand(7)  # earlier random numbers have no effect
    assert_same(everything(one), everything(train(deterministic(symbol), batches())))


def test_an_operator_without_a_deterministic_algorithm_is_one_line():
    set_algorithms(Devices(deterministic=True))
    x, index = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    with pytest.raises(InputError, match=r"^deterministic 1: .*max_unpooling2d.*; omit it"):
        with deterministic_errors():
            torch.nn.functional.max_unpool2d(x, index, 1)
    with pytest.raises(RuntimeError, match="shape"), deterministic_errors():
        raise RuntimeError("shape")


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", False), ("tf32", True)])
def test_tf32_is_a_setting_of_the_libraries(dtype, allowed):
    set_algorithms(Devices((0,), dtype=dtype))
    assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == allowed


@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
def test_tf32_needs_a_gpu_of_compute_capability_8(monkeypatch, capability):
    with pytest.raises(InputError, match=r"^dtype tf32: only on NVIDIA"):
        autocast_type("tf32", torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA T4")
    if capability > (8, 0):
        assert autocast_type("tf32", torch.device("cuda", 0)) is None
        return
    with pytest.raises(InputError, match=r"^dtype tf32: NVIDIA T4 .*; use float16"):
        autocast_type("tf32", torch.device("cuda", 0))


def test_kernels_are_kept_in_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_algorithms(Devices(compile="on", compile_cache="run/kernels"))
    assert os.environ[CACHE] == str(tmp_path / "run" / "kernels")
    set_algorithms(Devices(compile="on", compile_cache="other"))  # the next run of this process
    assert os.environ[CACHE] == str(tmp_path / "other")
    set_algorithms(Devices(compile="off", compile_cache="third"))
    assert os.environ[CACHE] == str(tmp_path / "other")


def test_the_user_s_folder_of_kernels_is_kept(monkeypatch):
    monkeypatch.setenv(CACHE, "/mine")
    set_algorithms(Devices(compile="on", compile_cache="run/kernels"))
    assert os.environ[CACHE] == "/mine"


def test_kernels_of_gpus_need_a_compiler_and_the_headers_of_python(tmp_path, monkeypatch):
    gpu, cpu = torch.device("cuda", 0), torch.device("cpu")
    headers = tmp_path / "Python.h"
    headers.touch()
    monkeypatch.setattr(sysconfig, "get_config_var", {"INCLUDEPY": str(tmp_path)}.get)
    monkeypatch.setattr(shutil, "which", {"clang": "/usr/bin/clang"}.get)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(importlib.util, "find_spec", {"triton": "a package"}.get)
    assert is_compiled(Devices((0,)), gpu)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    for compile_ in ("auto", "on"):
        with pytest.raises(InputError, match=rf"^compile {compile_}: needs a C compiler .*gcc"):
            is_compiled(Devices((0,), compile=compile_), gpu)
    assert not is_compiled(Devices((0,), compile="off"), gpu)
    assert not is_compiled(Devices(), cpu)
    monkeypatch.setenv("CC", "/opt/cc")
    assert is_compiled(Devices((0,)), gpu)
    headers.unlink()
    with pytest.raises(InputError, match="headers of Python"):
        is_compiled(Devices((0,)), gpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^compile auto: needs Triton"):
        is_compiled(Devices((0,)), gpu)
    # Triton has no code for older GPUs than Volta.
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert not is_compiled(Devices((0,)), gpu)
    with pytest.raises(InputError, match=r"^compile on: needs compute capability 7.0"):
        is_compiled(Devices((0,), compile="on"), gpu)
