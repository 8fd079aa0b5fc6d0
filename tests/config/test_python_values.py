"""Settings from Python's values."""

import dataclasses

import pytest

from imagenet_trainer import config
from imagenet_trainer.config import flags, layers
from imagenet_trainer.config.python_values import settings_of
from imagenet_trainer.errors import InputError


def parse(*words, kind=config.FitSettings):
    return flags.parse(kind, words, "fit", "about")


def test_values_from_python_are_those_of_a_command_line():
    values = {
        "network": "resnet", "image_shape": (3, 28, 28), "lr": 0.05, "gpus": [0, 2],
        "random_mirror": False, "lr_step_epochs": (2,), "num_layers": None, "seed": 7,
    }  # fmt: skip
    assert settings_of(config.FitSettings, values) == parse(
        *"--network resnet --image-shape 3,28,28 --lr 0.05 --gpus 0,2 --random-mirror 0".split(),
        *"--lr-step-epochs 2 --seed 7".split(),
    )
    assert settings_of(config.EvaluateSettings, {"gif": True, "epochs": "all"}) == parse(
        "--gif", "--epochs", "all", kind=config.EvaluateSettings
    )
    assert not settings_of(config.EvaluateSettings, {"gif": False}).gif
    images = ["-odd.jpg", "cat.jpg"]
    settings = settings_of(config.PredictSettings, {"pictures": images, "top_k": 2})
    assert settings.pictures == tuple(images) and settings.top_k == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_sise": 3}, "--batch-sise=3: no such flag; did you mean --batch-size?"),
        ({"batch_size": 0}, "--batch-size: '0': must be 1 or more"),
        ({"lr": -1}, "--lr: '-1': must be above 0"),
        ({"optimizer": "sdg"}, "--optimizer: 'sdg': must be one of sgd"),
    ],
)
def test_an_error_from_python_is_an_input_error(values, message):
    with pytest.raises(InputError) as caught:
        settings_of(config.FitSettings, values)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (config.FitSettings, {"when_done": ("sh", "-c", "echo 'two words'"), "gpus": (0, 2)}),
        (config.FitSettings, {"pretrained": ("runs/a,b/model", 3), "random_mirror": False}),
        (config.EvaluateSettings, {"compare": ("5", "runs/b/model,9"), "gif": True}),
        (config.CompareSettings, {"runs": ("a", "b"), "fractions": (0.1, 1.0)}),
        (config.CompareSettings, {"runs": ("a b",), "networks": "resnet-18"}),
        (config.FitSettings, {"set": ("lr=1,5", "wd=2"), "observers": ("a",)}),
        (config.FitSettings, {"set": (), "network": "resnet"}),
        (config.EvaluateSettings, {"compare": (), "epochs": (1, 2)}),
    ],
)
def test_values_arrive_as_they_are(settings, values):
    found = settings_of(settings, values)
    assert {name: getattr(found, name) for name in values} == values


def test_assignments_of_set_are_those_of_the_command_line():
    found = settings_of(config.FitSettings, {"set": ("lr=1", "wd=2"), "mom": 0.5},
                              layers.expanded)  # fmt: skip
    assert (found.lr, found.wd, found.mom) == (1, 2, 0.5)
    with pytest.raises(InputError, match=r"--set lrr=1: .*did you mean lr"):
        settings_of(config.FitSettings, {"set": ["lrr=1"]}, layers.expanded)
    with pytest.raises(InputError, match="--compare: expected 2 arguments"):
        settings_of(config.EvaluateSettings, {"compare": 5})


@pytest.mark.parametrize(
    "settings", [config.EvaluateSettings, config.FitSettings, config.ExportSettings]
)
def test_every_default_may_be_given(settings):
    for field in dataclasses.fields(settings):
        found = settings_of(settings, {field.name: field.default})
        assert getattr(found, field.name) == field.default, field.name
    with pytest.raises(InputError, match="--to: '': must be"):
        settings_of(config.ExportSettings, {"to": ()})
