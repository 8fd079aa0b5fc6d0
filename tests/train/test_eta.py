import pytest

from imagenet_trainer.train.eta import Pace


def test_nothing_is_known_at_first():
    assert Pace().left(100, 1) is None


def test_updates_and_ends_of_epochs():
    pace = Pace()
    pace.trained(20, 10.0)
    assert pace.left(100, 3) == 50.0  # nobody has seen the end of an epoch yet
    pace.between(4.0)
    assert pace.left(100, 3) == 62.0
    assert pace.left(0, 0) == 0.0


def test_the_first_stretch_warms_up():
    pace = Pace()
    pace.trained(20, 100.0)
    pace.trained(20, 10.0)
    pace.trained(10, 5.0)
    assert pace.left(100, 0) == pytest.approx(50.0)


def test_a_run_that_got_slower_is_believed():
    pace = Pace()
    for seconds in [1.0] * 200 + [4.0] * 50:
        pace.trained(1, seconds)
    assert pace.left(10, 0) == pytest.approx(40.0)


def test_an_epoch_without_updates():
    pace = Pace()
    pace.trained(0, 0.0)
    assert pace.left(10, 1) is None
