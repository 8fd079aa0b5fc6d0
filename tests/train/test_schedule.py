import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from conftest import needs_mxnet
from hypothesis import given
from hypothesis import strategies as st

from imagenet_trainer.data import order
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.schedule import Schedule, steps_of, updates_in


def rates(updates, **options):
    schedule = Schedule(**{"base": 0.1, "factor": 0.1, **options})
    return [schedule.rate(update) for update in updates]


def test_the_rate_drops_at_its_steps_and_stays():
    found = rates([0, 9, 10, 11, 19, 20, 10**9], steps=(10, 20), factor=0.5)
    assert found == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025])


def test_steps_may_come_in_any_order_and_twice():
    assert rates([5], steps=(4, 2, 4, 6)) == pytest.approx([1e-4])


@pytest.mark.parametrize(
    "strategy, expected",
    [
        ("linear", [0.25, 0.5, 0.75, 1, 1]),
        ("power2", [0.0625, 0.25, 0.5625, 1, 1]),
        ("sqrt", [0.5, math.sqrt(0.5), math.sqrt(0.75), 1, 1]),
    ],
)
def test_warm_up_rises_from_zero_to_the_base(strategy, expected):
    found = rates(range(5), base=2.0, warmup=4, strategy=strategy)
    assert found == pytest.approx([2 * share for share in expected])


def test_a_step_inside_the_warm_up_lowers_what_it_rises_to():
    assert rates([1, 2, 3, 4], steps=(2,), warmup=4) == pytest.approx([0.05, 0.0075, 0.01, 0.01])


@pytest.mark.parametrize("word", ["strategy", "kind"])
def test_an_unknown_name_is_an_error(word):
    with pytest.raises(ValueError, match="cubic"):
        rates([0], **{word: "cubic"})


# --- falling with every epoch, or by a curve -----------------------------------------------------


def test_a_factor_at_the_end_of_every_epoch():
    # 7.5 updates an epoch: the drops come with the updates that begin epochs.
    every = updates_in(1, 60, 8)
    assert every == Fraction(15, 2)
    found = rates(range(31), factor=0.94, every=every)
    begins = [7, 15, 22, 30]
    assert found == [0.1 * 0.94 ** sum(begin <= u for begin in begins) for u in range(31)]


@given(st.integers(1, 5000), st.integers(1, 10**6), st.integers(1, 10**4), st.integers(0, 10**6))
def test_every_is_steps_without_end(thousandths, images, batch, some):
    # Drop k comes with update floor(k * epochs * images / batch), in whole numbers.
    def drop(k):
        return k * thousandths * images // (1000 * batch)

    schedule = Schedule(1.0, factor=0.5, every=updates_in(thousandths / 1000, images, batch))
    for update in {drop(some + 1), max(0, drop(some + 1) - 1), drop(1), 0}:
        drops = schedule._drops(update)
        assert drop(drops + 1) > update and (drops == 0 or drop(drops) <= update)


def test_step_never_falls_below_its_final_rate():
    found = rates([0, 10, 20, 30], steps=(10, 20, 30), final=0.0005)
    assert found == pytest.approx([0.1, 0.01, 0.001, 0.0005])


@needs_mxnet
@pytest.mark.parametrize("warmup", [0, 5])
def test_poly_is_mxnets(warmup):
    theirs = mx.lr_scheduler.PolyScheduler(
        100, base_lr=0.4, pwr=2, final_lr=0.01, warmup_steps=warmup
    )
    found = rates(range(warmup, 120), base=0.4, kind="poly", total=100, final=0.01, warmup=warmup)
    assert found == pytest.approx([theirs(update) for update in range(warmup, 120)], rel=1e-12)


@needs_mxnet
@pytest.mark.parametrize("warmup", [0, 5])
def test_cosine_is_mxnets(warmup):
    theirs = mx.lr_scheduler.CosineScheduler(100, base_lr=0.4, final_lr=0.01, warmup_steps=warmup)
    found = rates(range(warmup, 120), base=0.4, kind="cosine", total=100, final=0.01,
                  warmup=warmup)  # fmt: skip
    assert found == pytest.approx([theirs(update) for update in range(warmup, 120)], rel=1e-12)


def test_the_power_of_poly():
    assert rates([50], base=1, kind="poly", total=100, power=1) == pytest.approx([0.5])
    assert rates([50], base=1, kind="poly", total=100, power=3) == pytest.approx([0.125])
    assert rates([0, 1], base=1, kind="poly", total=1) == [1, 0]


@pytest.mark.parametrize("kind", ["poly", "cosine"])
def test_warm_up_rises_to_the_base_of_a_curve_and_then_it_falls(kind):
    found = rates(range(20), base=1, kind=kind, total=20, warmup=4)
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])
    assert all(a > b > 0 for a, b in zip(found[4:], found[5:]))


@given(st.sampled_from(["step", "poly", "cosine"]), st.integers(0, 300), st.integers(0, 50))
def test_a_rate_lies_between_the_final_one_and_the_base(kind, update, warmup):
    options = {"kind": kind, "steps": (40, 90), "total": 120, "warmup": warmup, "final": 0.02}
    (rate,) = rates([update], **options)
    assert rate <= 0.1 and (rate >= 0.02 - 1e-12 or update < warmup)


def test_triangle_is_ffcvs():
    # numpy.interp over epochs, and linear inside each of them, as in its train_imagenet.py.
    updates, epochs, peak = 7, 16, 2
    ends = np.interp(range(epochs + 1), [0, peak, epochs], [1e-4 * 0.5, 0.5, 0])
    wanted = [
        rate
        for one, other in zip(ends, ends[1:])
        for rate in np.interp(np.arange(updates), [0, updates], [one, other])
    ]
    found = rates(range(updates * epochs), base=0.5, kind="triangle", start=5e-5,
                  peak=peak * updates, total=epochs * updates)  # fmt: skip
    assert found == pytest.approx(wanted, rel=1e-9)
    (end,) = rates([updates * epochs], base=0.5, kind="triangle", peak=14, total=112, final=0.01)
    assert end == 0.01
    assert rates([4], base=0.5, kind="triangle", peak=3, total=4, final=0.01)[0] == pytest.approx(
        0.01
    )


def test_one_cycle_is_pytorchs():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], 1.0)
    # PyTorch's first phase ends at update pct_start * total_steps - 1, its second one update before
    # total_steps.
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.4, total_steps=101, pct_start=31 / 101, div_factor=25, final_div_factor=4,
        cycle_momentum=False,
    )  # fmt: skip
    wanted = []
    for _ in range(101):
        wanted.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step() if len(wanted) < 101 else None
    found = rates(range(101), base=0.4, kind="one-cycle", start=0.016, peak=30, total=100,
                  final=0.004)  # fmt: skip
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("kind", ["triangle", "one-cycle"])
def test_a_peak_at_the_first_update(kind):
    found = rates([0, 10, 15], base=1.0, kind=kind, start=0.5, peak=0, total=10)
    assert found == [1.0, 0.0, 0.0]


@given(st.lists(st.integers(0, 1000), max_size=5), st.integers(1, 10**7), st.integers(1, 10**5))
def test_first_updates_of_epochs_agree_with_the_order_of_images(epochs, images, batch):
    expected = tuple(order.updates_before(epoch, images, batch) for epoch in epochs)
    assert steps_of(epochs, images, batch) == expected
    assert steps_of([float(epoch) for epoch in epochs], images, batch) == expected


@given(st.integers(0, 10**5), st.integers(1, 10**7), st.integers(1, 10**5))
def test_fractions_of_epochs_are_exact_decimals(thousandths, images, batch):
    expected = math.floor(Decimal(thousandths) * images / (1000 * Decimal(batch)))
    assert steps_of([thousandths / 1000], images, batch) == (expected,)


def test_imagenet():
    steps = steps_of((30, 60, 0.5), 1_281_167, 256)
    assert steps == (150_136, 300_273, 2502)
    assert all(type(step) is int for step in steps)
    assert steps_of((0.3,), 10, 1) == (3,)
