from dataclasses import replace

import pytest

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.order import updates_before
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.engine import training_of
from imagenet_trainer.train.schedule_flags import depends_on_num_epochs, rate_messages, schedule_of

IMAGES = 1_281_167
SETTINGS = FitSettings(batch_size=256, lr=0.1, num_epochs=90)


def rates(epochs, images=IMAGES, **changed):
    """At the first updates of some epochs."""
    settings = replace(SETTINGS, **changed)
    schedule = schedule_of(settings, images)
    return [schedule.rate(updates_before(e, images, settings.batch_size)) for e in epochs]


def test_the_defaults_are_the_old_scripts():
    assert rates([0, 29, 30, 59, 60, 89]) == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3])


def test_a_factor_at_the_end_of_every_epoch():
    found = rates(range(30), lr_factor=0.94, lr_step_every=1.0)
    assert found == pytest.approx([0.1 * 0.94**epoch for epoch in range(30)])
    halves = rates([0, 1, 2, 3], lr_factor=0.5, lr_step_every=2.0)
    assert halves == pytest.approx([0.1, 0.1, 0.05, 0.05])


def test_linear_scaling_with_the_batch():
    for batch, factor in ((256, 1), (1024, 4), (8192, 32), (64, 0.25)):
        found = rates([0, 45], batch_size=batch, lr_scale_batch=256, lr_final=0.02)
        assert found == pytest.approx([0.1 * factor, 0.02 * factor])
    assert rates([0], batch_size=1024) == [0.1]


def test_scaling_is_logged():
    assert rate_messages(SETTINGS) == []
    lars = {"optimizer": "lbsgd", "warmup_strategy": "lars", "warmup_epochs": 2.0}
    (line,) = rate_messages(replace(SETTINGS, batch_size=1024, lr_scale_batch=256, **lars))
    assert "rate 0.4: " in line and "256" in line and "1024" in line


@pytest.mark.parametrize("kind", ["poly", "cosine"])
def test_curves_end_with_the_last_epoch(kind):
    settings = replace(SETTINGS, lr_schedule=kind, warmup_epochs=5.0, lr_final=0.001)
    schedule = schedule_of(settings, IMAGES)
    end = updates_before(90, IMAGES, 256)
    assert schedule.rate(updates_before(5, IMAGES, 256)) == 0.1
    assert 0.001 < schedule.rate(end - 1) < 0.001001 and schedule.rate(end) == 0.001
    assert depends_on_num_epochs(settings)


@pytest.mark.parametrize("kind", ["triangle", "one-cycle"])
def test_cycles_rise_to_their_peak(kind):
    changed = {"lr_schedule": kind, "batch_size": 512, "lr_scale_batch": 256}
    assert rates([0, 27, 90], **changed) == pytest.approx([0.2 / 25, 0.2, 0])
    first, peak = rates([0, 2], lr_start=0.0, lr_peak_epoch=2.0, lr_final=0.001, **changed)
    assert (first, peak) == (0.0, pytest.approx(0.2))
    assert depends_on_num_epochs(replace(SETTINGS, lr_schedule=kind))


def test_with_steps_a_longer_run_is_the_same_run():
    assert not depends_on_num_epochs(SETTINGS)
    assert schedule_of(SETTINGS, IMAGES) == schedule_of(replace(SETTINGS, num_epochs=120), IMAGES)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"lr_final": 0.2}, "--lr-final 0.2: is above --lr 0.1"),
        ({"lr_schedule": "cosine", "warmup_epochs": 90.0}, "--warmup-epochs 90: .*--num-epochs 90"),
        ({"lr_schedule": "triangle", "warmup_epochs": 1.0}, "--warmup-epochs 1: .*--lr-peak-epoch"),
        ({"lr_schedule": "one-cycle", "lr_peak_epoch": 90.0}, "--lr-peak-epoch 90: "),
        ({"lr_schedule": "triangle", "lr_start": 0.2}, "--lr-start 0.2: is above --lr 0.1"),
        ({"lr_schedule": "poly", "lr_step_every": 1.0}, "--lr-step-every 1: .*--lr-schedule"),
    ],
)
def test_flags_that_exclude_each_other(changed, expected):
    with pytest.raises(InputError, match=expected):
        rates([0], **changed)


def test_training_options_of_the_engine():
    plain = training_of(SETTINGS, {})
    assert (plain.mixup, plain.accumulate, plain.average_decay) == (False, 1, 0.0)
    assert plain.optimizer.decay_gammas and plain.optimizer.clip_gradient is None
    training = training_of(
        replace(SETTINGS, optimizer="lbsgd", clip_gradient=0.5, no_bias_decay=True, mixup=0.2,
                label_smoothing=0.1, accumulate=4, ema=0.999, seed=3), {"fc_weight": 0.1}
    )  # fmt: skip
    assert training.optimizer.rate_factors == {"fc_weight": 0.1}
    assert (training.optimizer.name, training.optimizer.clip_gradient) == ("lbsgd", 0.5)
    assert (
        not training.optimizer.decay_gammas and training.mixup and training.label_smoothing == 0.1
    )
    assert (training.accumulate, training.average_decay, training.seed) == (4, 0.999, 3)
