import pytest
from helpers.tiny_engine import engine_of, network

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.mxnet.devices import check_options
from imagenet_trainer.errors import InputError


@pytest.mark.parametrize("name", ["sync_batch_norm", "checkpoint_activations"])
def test_options_of_pytorch_are_refused(name):
    with pytest.raises(InputError, match=rf"^{name} 1: only with PyTorch.*; omit it"):
        engine_of(network(), **{name: True})


def test_there_is_no_tf32():
    with pytest.raises(InputError, match=r"^dtype tf32: .*engine torch"):
        check_options(Devices((0,), dtype="tf32"))


def test_only_cpus_are_deterministic():
    check_options(Devices(deterministic=True))
    with pytest.raises(InputError, match=r"^deterministic 1: .*engine torch"):
        check_options(Devices((0,), deterministic=True))
