"""PyTorch's engine on a tiny network."""

import pytest

torch = pytest.importorskip("torch")
import numpy as np
from helpers.tiny_engine import (
    BATCH,
    MEAN,
    SIDE,
    STD,
    first_parameters,
)

from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine


def open_one(engine, symbol, rule="sgd", momentum=0.9, options=None, devices=None, **training):
    how = Training(Optimizer(rule, momentum, 1e-3, **(options or {})), **training)
    where = Devices(engine=engine, **(devices or {}))
    made = open_engine(symbol, where, (BATCH, SIDE, SIDE, 3), MEAN, STD, how)
    made.set_params(*first_parameters(symbol))
    return made


def everything(engine):
    arg, aux = engine.get_params()
    return {**arg, **aux, **engine.get_state()}


def assert_near(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=atol, err_msg=name)
