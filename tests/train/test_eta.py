import pytest

from imagenet_trainer.train.eta import RemainingTime


def test_no_estimate_before_the_first_interval():
    assert RemainingTime().seconds(100, 1) is None


def test_updates_and_ends_of_epochs():
    remaining = RemainingTime()
    remaining.add_interval(20, 10.0)
    assert remaining.seconds(100, 3) == 50.0  # no end of an epoch is recorded yet
    remaining.add_epoch_end(4.0)
    assert remaining.seconds(100, 3) == 62.0
    assert remaining.seconds(0, 0) == 0.0


def test_the_first_interval_is_a_warm_up():
    remaining = RemainingTime()
    remaining.add_interval(20, 100.0)
    remaining.add_interval(20, 10.0)
    remaining.add_interval(10, 5.0)
    assert remaining.seconds(100, 0) == pytest.approx(50.0)


def test_a_run_that_became_slower_changes_the_estimate():
    remaining = RemainingTime()
    for seconds in [1.0] * 200 + [4.0] * 50:
        remaining.add_interval(1, seconds)
    assert remaining.seconds(10, 0) == pytest.approx(40.0)


def test_an_epoch_without_updates():
    remaining = RemainingTime()
    remaining.add_interval(0, 0.0)
    assert remaining.seconds(10, 1) is None
