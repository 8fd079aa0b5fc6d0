"""MXNet's engine on the tiny network."""

import pytest
from helpers import tiny_engine
from helpers.tiny_engine import open_one

from imagenet_trainer.engines.mxnet import engine as mxnet_engine
from imagenet_trainer.engines.mxnet.arrays import to_symbol

BATCHES = tiny_engine.batches()


def network(batch_norm=False, dropout=0.0):
    """The tiny network as MXNet's symbol."""
    return to_symbol(tiny_engine.network(batch_norm, dropout))


def engine_of(symbol, cpus=1, rule="sgd", momentum=0.9, monitor=0, top_k=5, **devices):
    """`open_one` with the engine that is chosen for CPUs; `devices` are for Devices."""
    return open_one(
        "auto", symbol, rule, momentum, devices={"cpus": cpus, **devices}, monitor=monitor,
        top_k=top_k,
    )  # fmt: skip


@pytest.fixture
def half(monkeypatch):
    """float16 training without the casts, whose operators MXNet has on GPUs only."""
    monkeypatch.setattr(mxnet_engine, "in_16_bits", lambda symbol, *_: symbol)

    def engine(symbol, cpus=1, rule="sgd", **devices):
        return engine_of(symbol, cpus, rule, dtype="float16", **devices)

    return engine
