"""Which flags of evaluate go with which others."""

from dataclasses import fields

import pytest
from conftest import one_line_failure

from imagenet_trainer import evaluate
from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.eval.modes import _NEEDS, MODES

SETTINGS = {field.name: field for field in fields(EvaluateSettings)}


def test_the_tables_name_flags():
    for name, mode in MODES.items():
        assert {name, *mode.takes} <= SETTINGS.keys()
    for name, needed in _NEEDS.items():
        assert {name, *sum(needed, ())} <= SETTINGS.keys()


@pytest.mark.parametrize(
    ("words", "named", "other"),
    [
        ("--compare 1 2 --gif", "--gif", "--compare"),
        ("--compare 1 2 --features", "--features", "--compare"),
        ("--compare 1 2 --epochs 1", "--epochs", "--compare"),
        ("--compare 1 2 --review a.csv", "--review", "--compare"),
        ("--compare 1 2 --corruptions", "--compare", "--corruptions"),
        ("--compare 1 2 --calibrate", "--calibrate", "--compare"),
        ("--compare 1 2 --find-preprocessing", "--compare", "--find-preprocessing"),
        ("--audit a --model-prefix b", "--model-prefix", "--audit"),
        ("--audit a --data-val b.rec", "--data-val", "--audit"),
        ("--audit a --restrict-classes", "--restrict-classes", "--audit"),
        ("--corruptions --report", "--report", "--corruptions"),
        ("--corruptions --crops 10", "--crops", "--corruptions"),
        ("--find-preprocessing --output x", "--output", "--find-preprocessing"),
        ("--calibrate --flip", "--flip", "--calibrate"),
        ("--calibrate --calibrated", "--calibrated", "--calibrate"),
        ("--find-images 9", "--find-images", "--find-preprocessing"),
        ("--compare 1 2 --thumbnails all", "--thumbnails", "--report"),
        ("--gif-axes", "--gif-axes", "--gif or --video"),
        ("--map umap --features", "--map", "--report"),
    ],
)
def test_a_flag_without_effect_is_refused(words, named, other, capsys):
    line = one_line_failure(evaluate.main, "evaluate", capsys)(*words.split())
    assert line.startswith(f"{named}: has no effect with") and other in line and "omit" in line
