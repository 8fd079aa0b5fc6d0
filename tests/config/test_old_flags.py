"""Values that MXNet's example scripts take, in the forms that they take them."""

import pytest

from imagenet_trainer.config import FitSettings, flags, layers
from imagenet_trainer.config.old_flags import translated
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.config.values import kvstore
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.schedule_flags import rate_messages, schedule_of


def parsed(*words):
    return flags.parse_or_raise(FitSettings, layers.expanded(words))


@pytest.mark.parametrize("words", [
    ["--lr-step-epochs", "pow2"], ["--lr-step-epochs=pow2"], ["--lr-step-epochs", "pow-2.0"],
    ["--lr-step-epochs", "pow 2"],
])  # fmt: skip
def test_pow_is_the_polynomial_schedule(words):
    settings = parsed("--num-epochs", "10", *words, "--lr", "0.4", "--batch-size", "8")
    assert (settings.lr_schedule, settings.lr_power) == ("poly", 2.0)
    schedule = schedule_of(settings, 80)
    # mx.lr_scheduler.PolyScheduler(max_update=100, base_lr=0.4, pwr=2)
    assert [schedule.rate(u) for u in (0, 50, 99)] == pytest.approx(
        [0.4, 0.4 * 0.5**2, 0.4 * 0.01**2]
    )


def test_pow_from_python():
    given = settings_of(FitSettings, {"lr_step_epochs": "pow1.5"}, layers.expanded)
    assert (given.lr_schedule, given.lr_power) == ("poly", 1.5)


def test_other_steps_are_kept():
    words = ["--lr-step-epochs", "10,20", "--lr-step-epochs", "--lr", "1"]
    assert translated(words) == words
    assert translated(["--lr-step-epochs"]) == ["--lr-step-epochs"]


@pytest.mark.parametrize("other", [["--lr-schedule", "cosine"], ["--lr-power=3"]])
def test_pow_and_another_schedule(other):
    with pytest.raises(InputError, match="--lr-step-epochs pow2: "):
        parsed("--lr-step-epochs", "pow2", *other)


@pytest.mark.parametrize(("given", "wanted"), [
    ("3", 3), ("0", 0), ("5", 5), ("1", None), ("-1", None),
])  # fmt: skip
def test_top_k(given, wanted):
    if wanted is None:
        with pytest.raises(InputError, match="must be 0"):
            parsed("--top-k", given)
    else:
        assert parsed("--top-k", given).top_k == wanted


@pytest.mark.parametrize(("given", "wanted"), [
    ("ce", ("ce",)), ("nll", ("nll",)), ("ce,nll", ("ce", "nll")), ("nll_loss, ce", ("nll", "ce")),
    ("", ()), ("mse", None),
])  # fmt: skip
def test_losses(given, wanted):
    if wanted is None:
        with pytest.raises(InputError, match="ce, nll"):
            parsed("--loss", given)
    else:
        assert parsed("--loss", given).loss == wanted


@pytest.mark.parametrize(("given", "wanted"), [
    ("dist_sync_device", "dist_device_sync"), ("dist_async_device", "dist_device_async"),
    ("dist_device_sync", "dist_device_sync"), ("dist", "dist_sync"), ("dist_async", "dist_async"),
    ("dist_device", "dist_device_sync"), ("DIST_SYNC", "dist_sync"), ("local", "local"),
    ("local_allreduce_device", "device"), ("local_update_cpu", "local"), ("nccl", "nccl"),
    ("device", "device"),
])  # fmt: skip
def test_kinds_of_kvstores(given, wanted):
    assert kvstore(given) == wanted


@pytest.mark.parametrize("given", ["dist_sink", "disk", "devices", "horovod", "", "dist_sync_p3"])
def test_no_such_kvstore(given):
    with pytest.raises(InputError, match="dist_device_sync"):
        parsed("--kv-store", given)


def test_lars_is_lbsgd_without_a_warmup():
    words = ["--optimizer", "lbsgd", "--warmup-strategy", "lars", "--warmup-epochs", "5"]
    settings = parsed(*words)
    assert schedule_of(settings, 1000).rate(0) == settings.lr
    with pytest.raises(InputError, match=r"--warmup-strategy lars: .*sgd"):
        schedule_of(parsed("--warmup-strategy", "lars"), 1000)


def test_adadelta_has_no_rate():
    assert "no learning rate" in rate_messages(parsed("--optimizer", "adadelta"))[0]
