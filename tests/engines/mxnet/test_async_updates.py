import json

import numpy as np
import pytest
from helpers.mxnet_engine import BATCHES, engine_of, network
from helpers.tiny_engine import train

from imagenet_trainer.engines.mxnet import async_updates
from imagenet_trainer.engines.mxnet.async_updates import AsyncUpdates, serialise
from imagenet_trainer.engines.update_rules import STATES
from imagenet_trainer.system.mxnet_import import mx


def command(word, value=None):
    return json.dumps([word, value])


# MXNet's AdaDelta scales the gradient in place, so the server would get a scaled one here.
@pytest.mark.parametrize("optimizer", sorted({*STATES} - {"adadelta"}))
def test_a_server_makes_the_updates_that_a_worker_would(optimizer):
    engine = engine_of(network(), 1, optimizer)
    names = engine._module._exec_group.param_names
    server = AsyncUpdates()
    server.command(command(async_updates.BEGIN))
    optimizer = serialise(engine._module._optimizer, dict(enumerate(names, 3)))
    server.command(command(async_updates.OPTIMIZER, optimizer))
    server.command(command(async_updates.ASSIGN))
    held = {name: mx.nd.zeros(v.shape) for name, v in engine.get_params()[0].items()}
    for key, name in enumerate(names, 3):
        server.update(key, mx.nd.array(engine.get_params()[0][name]), held[name])
    server.command(command(async_updates.TRAIN))
    server.command(command(async_updates.RATE, 0.01))
    for _ in range(3):
        train(engine, BATCHES[:1])
        for key, name in enumerate(names, 3):
            gradient = engine._module._exec_group.grad_arrays[key - 3][0]
            server.update(key, gradient.copy(), held[name])
    for name, value in engine.get_params()[0].items():
        np.testing.assert_array_equal(held[name].asnumpy(), value, name)


def test_totals_accumulate():
    server, held = AsyncUpdates(), mx.nd.zeros(2, dtype="float64")
    for pushed in ([1, 1 / 3], [2, 1e-17]):
        server.update(0, mx.nd.array(pushed, dtype="float64"), held)
    assert held.asnumpy().tolist() == [3, 1 / 3 + 1e-17]


@pytest.mark.parametrize("text", [command("reboot"), "cos\nsystem\n(S'reboot'\ntR.", ""])
def test_unknown_commands_are_an_error(text):
    with pytest.raises(ValueError):
        AsyncUpdates().command(text)
