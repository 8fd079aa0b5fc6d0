"""Flags that change nothing are reported."""

import pytest

from imagenet_trainer.config import FitSettings, flags, layers
from imagenet_trainer.config.recipes import RECIPES
from imagenet_trainer.train.ineffective import ineffective_flags


def messages_of(*words, engine="torch"):
    settings = flags.parse_or_raise(FitSettings, layers.expanded(words))
    return ineffective_flags(settings, engine)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--lr-schedule", "cosine", "--lr-step-epochs", "3"],
         "--lr-step-epochs 3: has no effect with --lr-schedule cosine"),
        (["--lr-step-every", "2", "--lr-step-epochs", "3,4"],
         "--lr-step-epochs 3,4: has no effect with --lr-step-every 2"),
        (["--lr-power", "3"], "--lr-power 3: has no effect without --lr-schedule poly"),
        (["--warmup-strategy", "sqrt"], "--warmup-strategy sqrt: has no effect without"),
        (["--warmup-strategy", "lars", "--warmup-epochs", "2"], "--warmup-epochs 2: has no effect"),
        (["--optimizer", "adam", "--mom", "0.8"], "--mom 0.8: has no effect with --optimizer adam"),
        (["--random-crop", "1"], "--random-crop 1: has no effect with --random-resized-crop"),
        (["--random-resized-crop", "0", "--min-random-area", ".5"], "--min-random-area 0.5: "),
        (["--random-resized-crop", "0", "--pad-size", "4"], "--pad-size 4: has no effect without"),
        (["--gc-threshold", "2"], "--gc-threshold 2: has no effect without --gc-type 2bit"),
        (["--max-rollbacks", "2"], "--max-rollbacks 2: has no effect without --on-nan rollback"),
    ],
)  # fmt: skip
def test_one_line_each(words, wanted):
    (line,) = messages_of(*words)
    assert line.startswith(wanted)


def test_of_the_engine():
    assert messages_of("--compile", "on") == []
    (line,) = messages_of("--compile", "on", engine="mxnet")
    assert line.startswith("--compile on: ")


@pytest.mark.parametrize("words", [
    [], ["--random-resized-crop", "0", "--random-crop", "1", "--pad-size", "4"],
    ["--lr-schedule", "poly", "--lr-power", "3"], ["--optimizer", "signum", "--mom", "0.8"],
    ["--lr-step-epochs", "pow3"], ["--optimizer", "lbsgd", "--warmup-strategy", "lars"],
])  # fmt: skip
def test_what_has_an_effect_is_not_reported(words):
    assert messages_of(*words) == []


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_have_no_such_flag(name):
    assert messages_of("--recipe", name) == []
