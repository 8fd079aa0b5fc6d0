import os

import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import assert_same, batches, network, train
from helpers.torch_engine import everything, open_one

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.mxnet import devices as mxnet_devices
from imagenet_trainer.engines.pytorch import workers
from imagenet_trainer.engines.pytorch.algorithms import deterministic_errors, set_algorithms
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.engine import devices_of

NAMES = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO")


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """Remove the variables, and end with PyTorch's settings of other engines."""
    for name in NAMES:
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


def test_mxnet_has_it_on_cpus_only():
    mxnet_devices.check_options(Devices(deterministic=True))
    with pytest.raises(InputError, match=r"^deterministic 1: .*engine torch"):
        mxnet_devices.check_options(Devices((0,), deterministic=True))
