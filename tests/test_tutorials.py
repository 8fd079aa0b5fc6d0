"""The commands of the tutorials, in their order, with fewer images and smaller networks."""

import importlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from helpers.networks import weights

from imagenet_trainer.assets import demo_images
from imagenet_trainer.convert.equal_networks import NETWORKS

BLOCKS = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What makes a command fast, and what follows from that.
FASTER = {
    "--num-layers 20": "--num-layers 8",
    "3,28,28": "3,16,16",
    "--num-epochs 4": "--num-epochs 1",
    "--num-examples 800": "--num-examples 48",
    "--network fast-cnn": "--network resnet --num-layers 8",
    "--batch-size 50": "--batch-size 12",
    "--batch-size 20": "--batch-size 10",
    "--train-fraction 0.25 --batch-size 25": "--batch-size 12",
}
TOOLS = {"tools/im2rec.py": "packing.im2rec", "tools/imagenet.py": "packing.ilsvrc.command"}


def commands(page):
    """(command, whether the page shows an error of it) of the transcripts, in their order."""
    text = (ROOT / "docs" / f"tutorial-{page}.md").read_text(encoding="utf-8")
    found = []
    for block in BLOCKS.findall(text):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = step.partition("\n")
            found.append((command, ": error: " in shown))
    return found


def main_of(words):
    """The function that a command line calls, and its arguments; None for a tool of the shell."""
    if words[0] != "python":
        return None, words
    if words[1] == "-m":
        return importlib.import_module(words[2]).main, words[3:]
    if words[1] not in TOOLS:
        return None, words
    return importlib.import_module(f"imagenet_trainer.{TOOLS[words[1]]}").main, words[2:]


def follow(page, part=slice(None)):
    for command, fails in commands(page)[part]:
        for before, after in FASTER.items():
            command = command.replace(before, after)
        main, words = main_of(shlex.split(command))
        if main is None:
            script = command.replace("python ", f"{sys.executable} ", 1)
            subprocess.run(["bash", "-ec", script], check=True)
            continue
        try:
            code = main(words)
        except SystemExit as error:
            code = error.code
        assert (code == 2) == fails, command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder like the checkout, and twelve training images of each class in the package."""
    monkeypatch.chdir(tmp_path)
    for name in ("tools", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    with np.load(demo_images._IMAGES) as data:
        few = dict(data)
    for part, count in (("train", 12), ("val", 6)):
        labels = few[f"{part}_labels"]
        kept = np.concatenate([np.flatnonzero(labels == one)[:count] for one in range(10)])
        for name in (f"{part}_labels", f"{part}_images"):
            few[name] = few[name][kept]
    np.savez(tmp_path / "few.npz", **few)
    monkeypatch.setattr(demo_images, "_IMAGES", str(tmp_path / "few.npz"))
    return tmp_path


def test_one_folder_of_photographs(here, monkeypatch):
    monkeypatch.setitem(FASTER, " --report", "")
    follow("photographs", slice(-4))
    assert len((here / "shoes.csv").read_text().splitlines()) == 12 + 1


@pytest.mark.slow
def test_photographs_from_a_pretrained_network(here, monkeypatch):
    import safetensors.numpy as safetensors

    follow("photographs", slice(4))
    folder = here / "models" / "timm-resnet18.tv_in1k"
    folder.mkdir(parents=True)
    equal = next(one for one in NETWORKS if one.title == "timm/resnet18")
    safetensors.save_file(weights(equal, 1000)[1], folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("MXNET_HOME", str(here))
    monkeypatch.setitem(FASTER, "--num-epochs 5", "--num-epochs 1 --image-shape 3,32,32")
    monkeypatch.setitem(FASTER, "--lr 0.01", "--lr 0.0001 --batch-size 10")
    follow("photographs", slice(-4, None))
    assert (here / "runs/photos/report.html").is_file()


@pytest.mark.slow
def test_imagenets_tars(here):
    follow("imagenet")
    assert (here / "runs/resnet-8/confusion.gif").is_file()


def test_shards_of_mxnet(here):
    follow("mxnet-shards")
    assert (here / "runs/mxnet/model-0003.params").is_file()
    assert sum(path.is_file() for path in (here / "folders").rglob("*")) == 12


@pytest.mark.slow
def test_coming_from_timm(here):
    pytest.importorskip("torch")
    follow("timm")
    assert (here / "runs/tuned/model-0001.params").is_file()
    timm = pytest.importorskip("timm")
    from safetensors.torch import load_file

    model = timm.create_model("resnet18", num_classes=10)
    model.load_state_dict(load_file(str(here / "resnet18-torch-0002.safetensors")))
