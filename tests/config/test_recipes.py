import math

import numpy as np
import pytest
from conftest import ROOT

from imagenet_trainer import config, fit, symbols
from imagenet_trainer.config import flags, layers, recipes
from imagenet_trainer.config.recipes import RECIPES
from imagenet_trainer.data.order import updates_before
from imagenet_trainer.errors import InputError
from imagenet_trainer.train.architecture import with_options
from imagenet_trainer.train.image_sizes import check_sizes, size_at
from imagenet_trainer.train.schedule_flags import schedule_of

IMAGES = {"cifar10": 50_000}
FASHION = "fashion-mnist"  # at the start of the names of its recipes


def images_of(name):
    """The training images that a recipe is for."""
    return 60_000 if name.startswith(FASHION) else IMAGES.get(name.rpartition("-")[2], 1_281_167)


def settings_of(*argv):
    return flags.parse(config.FitSettings, layers.expanded(argv), "fit", "Train.")


def rate_at(settings, epoch, images):
    """Learning rate of the first update of an epoch."""
    update = updates_before(epoch, images, settings.batch_size)
    return schedule_of(settings, images).rate(update)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_a_valid_training(name):
    settings = settings_of("--recipe", name)
    network = symbols.find(settings.network, settings.num_layers)
    classes = 1000 if images_of(name) == 1_281_167 else 10
    symbol = symbols.get_symbol(
        settings.network, classes, settings.image_shape, settings.num_layers, settings.activation
    )
    check_sizes(settings, with_options(settings, symbol, name), name)
    assert name.startswith((network.family.partition("_")[0], network.name, FASHION))
    images = images_of(name)
    schedule = schedule_of(settings, images)
    total = updates_before(settings.num_epochs, images, settings.batch_size)
    assert schedule.rate(total - 1) < schedule.base / 5  # ends with a low rate
    decoupled = settings.optimizer == "lamb"
    assert 1e-5 <= settings.wd <= (0.05 if decoupled else 1e-3) and settings.recipe == name


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("squeezenet", {0: 0.01, 49: 0.01, 50: 1e-3, 65: 1e-4, 75: 1e-5, 79: 1e-5}),
        ("squeezenet1.1", {0: 0.01, 50: 1e-3, 65: 1e-4, 75: 1e-5}),
        ("resnet18-30", {0: 0.1, 1: 0.094, 2: 0.08836, 29: 0.1 * 0.94**29}),
        ("resnet50-90", {0: 0.1, 29: 0.1, 30: 0.01, 60: 1e-3, 80: 1e-4}),
        ("resnet50-120", {5: 0.4, 62.5: 0.2, 119: 0.1 * (math.pi / 115) ** 2}),
        ("resnet50-8k", {5: 3.2, 30: 0.32, 60: 0.032, 80: 0.0032}),
        ("resnet20-cifar10", {0: 0.05, 199: 0.05, 200: 0.005, 250: 0.0005}),
    ],
)  # fmt: skip
def test_learning_rates(name, rates):
    settings = settings_of("--recipe", name)
    images = images_of(name)
    for epoch, rate in rates.items():
        actual = rate_at(settings, int(epoch), images)
        assert actual == pytest.approx(rate, rel=0.02 if epoch in (62.5, 119) else 1e-9)


@pytest.mark.parametrize(
    ("name", "start_ramp", "end_ramp"),
    [
        (f"resnet{depth}-{epochs}", start, end)
        for depth in (18, 50)
        for epochs, start, end in ((16, 11, 13), (40, 29, 34), (88, 65, 76))
    ],
)
def test_rates_and_sizes_of_ffcv(name, start_ramp, end_ramp):
    # train_imagenet.py of libffcv/ffcv-imagenet: get_resolution and get_cyclic_lr, with the ramps
    # of its configurations.
    settings = settings_of("--recipe", name)
    for epoch in range(settings.num_epochs):
        between = np.interp(epoch, [start_ramp, end_ramp], [160, 192])
        side = int(np.round(between / 32)) * 32
        assert size_at(settings, epoch) == (side, side), epoch
        wanted = np.interp(epoch, [0, 2, settings.num_epochs], [1e-4, 1, 0]) * settings.lr
        # An epoch begins at the update before its images: a small part of an epoch earlier.
        assert rate_at(settings, epoch, 1_281_167) == pytest.approx(wanted, abs=2e-3 * settings.lr)


def test_other_flags_of_squeezenet():
    settings = settings_of("--recipe", "squeezenet")
    assert (settings.num_epochs, settings.wd, settings.network) == (80, 2e-4, "squeezenet1.0")


def test_flags_override_the_recipe():
    settings = settings_of("--lr", "0.02", "--recipe", "resnet50-mixup", "--no-bias-decay", "0")
    assert settings.lr == 0.02 and settings.no_bias_decay is False
    assert settings.mixup == 0.2 and settings.num_layers == 50
    assert settings_of("--recipe=squeezenet").wd == 2e-4


def test_every_recipe_states_its_cost_and_source():
    for recipe in RECIPES.values():
        assert all((recipe.about, recipe.paper, recipe.hardware, recipe.hours, recipe.score))
        assert "arXiv" in recipe.paper


def test_names():
    with pytest.raises(InputError, match=r"--recipe resnet5O-90: .*did you mean resnet50-90\?"):
        layers.expanded(["--recipe", "resnet5O-90"])
    assert layers.expanded(["--lr", "1"]) == ["--lr", "1"]


def test_the_command_lists_them(capsys):
    assert fit.main(["--recipe", "list"]) == 0
    listing = capsys.readouterr().out
    assert all(f"\n{name}\n" in f"\n{listing}" for name in RECIPES)
    assert fit.main(["--recipe", "squezenet"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "did you mean squeezenet?" in line and "resnet18-30" in line


def test_the_page_is_the_output_of_the_module():
    assert (ROOT / "docs" / "recipes.md").read_text() == recipes.markdown()
