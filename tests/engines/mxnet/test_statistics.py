"""Parameters and moving statistics of many devices."""

from helpers.mxnet_engine import BATCHES, engine_of, network
from helpers.tiny_engine import assert_same, everything, train

SYMBOL = network(batch_norm=True)
DEVICES = 8  # the float32 sum of eight equal numbers rounds on its way


def test_what_is_read_is_what_the_devices_have():
    engine = train(engine_of(SYMBOL, DEVICES), BATCHES[:2])
    arg, aux = engine.get_params()
    first = engine._bound.executors[0].arg_dict
    assert_same(arg, {name: first[name].asnumpy() for name in arg})
    engine.set_params(arg, aux)
    assert_same(engine.get_params(), (arg, aux))


def test_a_training_that_goes_on_repeats_the_whole_one():
    whole = train(engine_of(SYMBOL, DEVICES), BATCHES[:2])
    resumed = engine_of(SYMBOL, DEVICES)
    resumed.set_params(*whole.get_params())
    resumed.set_state(whole.get_state())
    for engine in (whole, resumed):
        train(engine, BATCHES[2:4])
    assert_same(everything(resumed), everything(whole))
