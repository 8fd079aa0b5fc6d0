import numpy as np

from imagenet_trainer.runs.ema import averages, to_resume, to_save


def arrays(offset, names):
    return {name: np.full(2, offset + index) for index, name in enumerate(names)}


def test_to_save_and_to_resume_are_inverse():
    arg, aux = arrays(0, ("w", "b")), arrays(10, ("mean",))
    state = {
        "updates": np.array(3),
        "momentum:w": np.ones(2),
        **arrays(20, ("average:arg:w", "average:arg:b")),
        **arrays(30, ("average:aux:mean",)),
        "average_statistics:0:mean": np.zeros(2),
    }
    saved = to_save(arg, aux, state)
    assert saved[0].keys() == arg.keys() and saved[0]["b"][0] == 21 and saved[1]["mean"][0] == 30
    assert saved[2].keys() == {
        "updates", "momentum:w", "trained:arg:w", "trained:arg:b", "trained:aux:mean",
        "average_statistics:0:mean",
    }  # fmt: skip
    again = to_resume(*saved)
    for ours, theirs in zip(again, (arg, aux, state)):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_without_an_average_nothing_changes():
    arg, aux, state = arrays(0, ("w",)), {}, {"updates": np.array(3)}
    assert averages(state) is None
    assert to_save(arg, aux, state) == (arg, aux, state) == to_resume(arg, aux, state)


def test_averages_of_a_network_without_statistics():
    state = arrays(0, ("average:arg:w",))
    assert averages(state) == ({"w": state["average:arg:w"]}, {})
