import numpy as np
import pytest
from helpers.tiny_engine import assert_same, batches, engine_of, network, train

torch = pytest.importorskip("torch")

DECAY = 0.8


class Values(torch.nn.Module):
    def __init__(self, values):
        super().__init__()
        for name, value in values.items():
            self.register_buffer(name, torch.tensor(value))


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_average_is_pytorchs(cpus):
    engine = engine_of(network(batch_norm=True), cpus, average_decay=DECAY)
    reference = None
    for batch in batches():
        train(engine, [batch], 0.1)
        arg, aux = engine.get_params()
        values = Values({**arg, **aux})
        if reference is None:
            reference = torch.optim.swa_utils.AveragedModel(
                values,
                multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(DECAY),
                use_buffers=True,
            )
        reference.update_parameters(values)
        state = engine.get_state()
        for kind, names in (("arg", arg), ("aux", aux)):
            for name in names:
                wanted = getattr(reference.module, name).numpy()
                found = state[f"average:{kind}:{name}"]
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, wanted, atol=1e-6, err_msg=name)
    assert np.abs(state["average:arg:fc_weight"] - arg["fc_weight"]).max() > 1e-3


def test_averaging_does_not_change_the_trained_parameters():
    symbol = network(batch_norm=True, dropout=0.5)
    plain = train(engine_of(symbol), batches()).get_params()
    averaged = train(engine_of(symbol, average_decay=DECAY), batches()).get_params()
    assert_same(plain, averaged)


def test_before_the_first_update_there_is_no_average():
    engine = engine_of(network(), average_decay=DECAY)
    assert list(engine.get_state()) == ["updates"]
    engine.set_state(engine.get_state())
    train(engine, batches(1))
    state, (arg, _) = engine.get_state(), engine.get_params()
    np.testing.assert_array_equal(state["average:arg:fc_weight"], arg["fc_weight"])


def test_set_params_does_not_change_the_average():
    # So validation with the averages only needs set_params, and set_params to restore.
    engine = train(engine_of(network(batch_norm=True), average_decay=DECAY), batches(3))
    before = engine.get_state()
    trained = engine.get_params()
    engine.set_params(*({n: v * 0 + 1 for n, v in part.items()} for part in trained))
    engine.predict(batches(1)[0][0])
    engine.set_params(*trained)
    assert_same(engine.get_state(), before)


def test_another_number_of_devices_continues_from_the_average_over_the_devices():
    symbol = network(batch_norm=True)
    two = train(engine_of(symbol, 2, average_decay=DECAY), batches(3)).get_state()
    one = engine_of(symbol, 1, average_decay=DECAY)
    one.set_state(two)
    state = one.get_state()
    for key in (key for key in two if key.startswith("average:")):
        np.testing.assert_array_equal(state[key], two[key])
    assert not [key for key in state if key.startswith("average_statistics")]
