"""Progressive resizing: sizes are a function of the epoch, and a resumed run has the same ones."""

from dataclasses import replace

import pytest
from helpers.fit_runs import assert_resumes_exactly, words_of

from imagenet_trainer import config, symbols
from imagenet_trainer.config.flags import parse_or_raise
from imagenet_trainer.data.order import updates_before
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.image_sizes import check_sizes, segments, size_at

SETTINGS = config.FitSettings(
    num_epochs=16, image_shape=(3, 256, 256), image_size_schedule="0:160,11:176,13:192"
)


def test_the_size_of_an_epoch():
    sizes = [size_at(SETTINGS, epoch)[0] for epoch in range(16)]
    assert sizes == [160] * 11 + [176] * 2 + [192] * 3
    assert size_at(replace(SETTINGS, image_size_schedule=""), 3) == (256, 256)


@pytest.mark.parametrize("start", [0, 30, 81, 82, 83, 119])
def test_ranges_of_updates_have_one_size(start):
    def first_update(epoch):
        return updates_before(epoch, 60, 8)

    end = first_update(16)
    found = list(segments(SETTINGS, first_update, range(start, end)))
    assert [update for part, _ in found for update in part] == [*range(start, end)]
    for part, size in found:
        for update in part:
            epoch = max(e for e in range(16) if first_update(e) <= update)
            assert size == size_at(SETTINGS, epoch)
    assert len(found) <= 3


@pytest.mark.parametrize(
    "text", ["160", "1:160", "0:160,0:176", "0:160,5:192,3:176", "0:", "0:0", "0:160;3:176"]
)
def test_what_is_no_schedule(text):
    with pytest.raises(InputError, match=f"--image-size-schedule: '{text}': must"):
        parse_or_raise(config.FitSettings, ["--image-size-schedule", text])


@pytest.mark.parametrize(
    ("network", "schedule", "expected"),
    [
        ("alexnet", "0:160", "--image-size-schedule 0:160: .*alexnet depend on the size"),
        ("densenet121", "0:160,3:8", "--image-size-schedule 3:8: is too small"),
        ("resnet18", "0:160,20:192", "--image-size-schedule 20:192: --num-epochs is 16"),
    ],
)
def test_sizes_that_cannot_be(network, schedule, expected):
    symbol = symbols.get_symbol(network, 10, (3, 224, 224))
    settings = replace(SETTINGS, image_shape=(3, 224, 224), image_size_schedule=schedule)
    with pytest.raises(InputError, match=expected):
        check_sizes(settings, symbol, network)
    check_sizes(replace(settings, image_size_schedule=""), symbol, network)


def test_a_run_resumes_exactly_across_a_change(packed, tmp_path):
    words = [*words_of(packed), "--image-size-schedule", "0:12,1:20"]
    words += ["--ema", "0.9", "--cutmix", "1", "--disp-batches", "50"]
    assert_resumes_exactly(words, tmp_path)
    log = (tmp_path / "a" / "log.txt").read_text()
    assert "images of 12 x 12 from update 0 on" in log and "images of 20 x 20" in log
