"""Plug-ins of other packages, with docs/plugin-example as one."""

import configparser
import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, run, words_of_fit

from imagenet_trainer import evaluate, fit, symbols
from imagenet_trainer.benchmarks.environment import found_plugins, plugin_lines
from imagenet_trainer.config import AugmentSettings, FitSettings, flags, plugins
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.events import EventLog, read_events
from imagenet_trainer.train.plugin_observers import listeners

EXAMPLE = ROOT / "docs/plugin-example"
MODULE = "imagenet_trainer_example"


def offer(folder, package, points, code="", module="their_code"):
    """Write a package as pip would install it, with entry points {(group, name): object}."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    parser = configparser.ConfigParser(delimiters=("=",))
    for (kind, name), value in points.items():
        group = f"imagenet_trainer.{kind}"
        if group not in parser:
            parser.add_section(group)
        parser[group][name] = value
    with open(info / "entry_points.txt", "w") as file:
        parser.write(file)
    (folder / f"{module}.py").write_text(code)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, on the path."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(plugins, "_LOADED", {})
    yield folder
    plugins._all.cache_clear()
    for name in (MODULE, "their_code"):
        sys.modules.pop(name, None)


@pytest.fixture
def example(site):
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    points = {
        (group.partition(".")[2], name): value
        for group, found in project["entry-points"].items()
        for name, value in found.items()
    }
    assert {kind for kind, _ in points} == set(plugins.ARGUMENTS)
    offer(site, project["name"], points, (EXAMPLE / f"{MODULE}.py").read_text(), MODULE)
    return site


def test_the_example_trains_and_its_checkpoint_needs_no_plugin(example, packed, tmp_path, capsys):
    prefix = tmp_path / "runs/model"
    words = [
        *words_of_fit(packed), "--num-epochs", "1", "--network", "example-cnn", "--num-layers", "1",
        "--auto-augment", "example-cutout", "--observers", "example-epochs",
        "--engine", "example-timed", "--model-prefix", str(prefix),
    ]  # fmt: skip
    assert fit.main(words) == 0
    with open(prefix.parent / "history.csv", newline="") as file:
        loss = float(next(csv.DictReader(file))["train_loss"])
    assert (prefix.parent / "epochs.txt").read_text() == f"epoch 1: loss {loss:.3f}\n"
    config = json.loads((prefix.parent / "config.json").read_text())
    assert config["versions"]["imagenet-trainer-example"] == "1.0"
    assert config["engine"] == "example-timed"

    explain = ["--model-prefix", str(prefix), "--explain", "2", "--explain-nearest", "0"]
    capsys.readouterr()
    assert evaluate.main([*explain, "--engine", "example-timed"]) == 2
    log = capsys.readouterr().err
    assert "no heat-maps: --engine example-timed is a plug-in" in log and "neither" in log

    sys.path.remove(str(example))
    assert (
        evaluate.main(["--model-prefix", str(prefix), "--data-val", str(packed / "val.rec")]) == 0
    )
    with pytest.raises(SystemExit):
        fit.main(words)
    assert "invalid choice: 'example-cutout'" in capsys.readouterr().err


def test_numbers_of_an_augmentation_follow_from_seed_epoch_and_image(example):
    settings = AugmentSettings(auto_augment="example-cutout")
    transform = TrainTransform(settings, (3, 24, 24), 5)
    images, epochs = np.array([3, 4, 9, 9]), np.array([0, 0, 0, 1])
    image = np.full((24, 24, 3), 255, np.uint8)

    def results(images, epochs, transform=transform):
        drawn, found = transform.draw(images, epochs), []
        for i in range(len(images)):
            found.append(np.empty((24, 24, 3), np.uint8))
            transform.apply(image.copy(), drawn, i, found[-1])
        return found

    together = results(images, epochs)
    for i in range(4):
        np.testing.assert_array_equal(results(images[i : i + 1], epochs[i : i + 1])[0], together[i])
        assert (together[i] == settings.fill_value).any()
    assert len({one.tobytes() for one in together}) == 4
    other = results(images, epochs, TrainTransform(settings, (3, 24, 24), 6))
    assert any((one != two).any() for one, two in zip(together, other))
    # The other random choices are those of a run without the plug-in.
    plain = TrainTransform(AugmentSettings(), (3, 24, 24), 5).draw(images, epochs)
    ours = transform.draw(images, epochs)
    assert ours._replace(operations=None) == plain


BROKEN = """
import numpy as np
from imagenet_trainer.graph import sym

def get_symbol(num_classes, image_shape):
    return sym.Flatten(sym.Variable("data"))

def fail(*arguments, **more):
    raise ValueError("their fault")

def copy(image, numbers, fill):
    return image

number = 7
"""


@pytest.mark.parametrize(
    "flag, kind, value, reason",
    [
        ("--network", "networks", "their_code:get_symbol", "not a classifier"),
        ("--network", "networks", "their_code:fail", "ValueError: their fault"),
        ("--network", "networks", "their_code:number", "not callable"),
        ("--network", "networks", "their_code:gone", "AttributeError"),
        ("--network", "networks", "no_module:x", "ModuleNotFoundError"),
        ("--auto-augment", "augmentations", "their_code:fail", "ValueError: their fault"),
        ("--auto-augment", "augmentations", "their_code:copy", "in place"),
        ("--observers", "observers", "no_module:x", "ModuleNotFoundError"),
        ("--engine", "engines", "their_code:number", "not callable"),
        ("--engine", "engines", "their_code:copy", "TypeError"),
        ("--engine", "engines", "builtins:dict", "lacks"),
    ],
)
def test_a_broken_plugin_is_one_line(site, packed, tmp_path, capsys, flag, kind, value, reason):
    offer(site, "their-package", {(kind, "theirs"): value}, BROKEN)
    prefix = str(tmp_path / "run/model")
    assert fit.main([*words_of_fit(packed)[4:], flag, "theirs", "--model-prefix", prefix]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"fit: error: {flag} theirs: the entry point theirs = {value} of")
    assert "their-package 1.0" in error and reason in error


@pytest.mark.parametrize("returned", ["1 / 0", "None", "lambda event: 1 / 0"])
def test_a_failing_observer_gets_no_more_events(site, tmp_path, returned):
    code = f"def observe(folder):\n    return {returned}\n"
    offer(site, "their-package", {("observers", "theirs"): "their_code:observe"}, code)
    log = []
    (listener,) = listeners(("theirs", "theirs"), tmp_path, log.append)
    events = EventLog(tmp_path / "events.jsonl", log.append, [listener])
    for update in range(3):
        events.write("interval", {"update": update})
    events.close()
    assert len(read_events(tmp_path / "events.jsonl")) == 3
    assert len(log) == 1 and "--observers theirs" in log[0] and "their-package 1.0" in log[0]


def test_lists_show_plugins_and_those_that_cannot_be_used(example, capsys):
    points = {
        ("networks", "resnet50"): "their_code:get_symbol",
        ("engines", "torch"): "their_code:fail",
        ("networks", "example-cnn"): "their_code:get_symbol",
        ("observers", "gone"): "no_module:x",
    }
    offer(example, "their-package", points, BROKEN)
    lines = plugin_lines(found_plugins())
    for words, is_bad in (
        ("example-cutout", False), ("resnet50", True), ("torch =", True), ("gone", True),
    ):  # fmt: skip
        line = next(line for line in lines if words in line)
        assert ("cannot be" in line) == is_bad and ("their-package 1.0" in line) == is_bad
    # Ours is built, whatever the package says; of two with a new name neither is.
    assert symbols.find("resnet50").family == "resnet"
    with pytest.raises(InputError, match=r"imagenet-trainer-example 1\.0.*their-package 1\.0"):
        symbols.find("example-cnn")
    assert fit(network="list").prefix == ""
    listed = capsys.readouterr().out
    assert "imagenet-trainer-example 1.0" in listed and "squeezenet1.1" in listed
    parser = flags.parser_of(FitSettings, "fit", "")
    assert "example-cutout" in parser.format_help()
    with pytest.raises(InputError, match="example-timed"):
        flags.parse_or_raise(FitSettings, ["--engine", "example-tmed"])


def test_nothing_is_looked_up_for_names_of_our_own(monkeypatch):
    def refuse(path):
        raise AssertionError("looked up")

    monkeypatch.setattr(plugins, "_all", refuse)
    words = ["--network", "resnet50", "--engine", "torch", "--auto-augment", "rand"]
    settings = flags.parse_or_raise(FitSettings, words)
    assert symbols.find(settings.network).family == "resnet"
    TrainTransform(settings, (3, 16, 16), 0)


@pytest.mark.slow
def test_pip_installs_the_example(tmp_path):
    words = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    copy = tmp_path / "example"
    copy.mkdir()
    for path in EXAMPLE.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, *words, "--target", tmp_path / "site", copy],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    environment = {"PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}"}
    words = ["--network", "example-cnn", "--summary", "--num-classes", "3"]
    assert "conv1" in run("-m", "imagenet_trainer.fit", *words, env=environment).stdout
