import numpy as np
import pytest
from helpers.mxnet_engine import BATCHES, engine_of, network
from helpers.tiny_engine import assert_same, first_parameters, train

from imagenet_trainer.engines.mxnet.optimizers import SGDOfOneWeight
from imagenet_trainer.system.mxnet_import import mx


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("clip", [None, 0.02])
@pytest.mark.parametrize("shape", [(64, 3, 7, 7), (5,)])
def test_sgd_of_one_weight_computes_the_bits_of_mxnets_sgd(shape, clip, momentum):
    def updated(kind):
        random = np.random.default_rng(0)
        rule = kind(
            momentum=momentum, learning_rate=0.1, wd=1e-2, rescale_grad=1 / 3, clip_gradient=clip
        )
        weight = mx.nd.array(random.normal(size=shape))
        state = rule.create_state(0, weight)
        for _ in range(3):
            rule.update(0, weight, mx.nd.array(random.normal(size=shape)), state)
        return weight.asnumpy()

    np.testing.assert_array_equal(updated(SGDOfOneWeight), updated(mx.optimizer.SGD))


@pytest.mark.parametrize("rule", ["sgd", "lbsgd", "adamw", "ftml"])
def test_a_rate_that_no_float32_represents_changes_nothing(rule):
    # Many steps, or a polynomial at its end. MXNet's operators refuse it.
    engine = train(engine_of(network(), rule=rule), BATCHES[:1], 1e-60)
    assert_same(engine.get_params()[0], first_parameters(network())[0])
