"""What holds for every command line."""

import pytest
from conftest import ROOT, one_line_error, run

COMMANDS = ("fit", "compare", "evaluate", "predict", "export", "published", "doctor", "benchmark",
            "assets.demo_images")  # fmt: skip
IM2REC = [str(ROOT / "tools" / "im2rec.py")]
WORDS = {"im2rec": IM2REC, **{name: ["-m", f"imagenet_trainer.{name}"] for name in COMMANDS}}
# What takes longer to import than a user waits for --help.
HEAVY = ("numpy", "cv2", "mxnet", "pandas", "datashader", "xarray", "PIL", "tqdm",
         "matplotlib", "tensorboardX", "pynvml", "torch", "onnx", "scipy", "gluoncv")  # fmt: skip


@pytest.mark.parametrize("name", sorted(WORDS))
def test_help_answers_without_the_libraries(name):
    result = run("-X", "importtime", *WORDS[name], "--help")
    assert result.stdout.startswith(f"usage: {name.rpartition('.')[2]} ")
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported.intersection(HEAVY)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_misspelt_flag_is_one_line(name):
    words = {"predict": ["cat.jpg"], "im2rec": ["data/train", "pictures"], "benchmark": ["loader"],
             "assets.demo_images": ["pictures"]}.get(name, [])  # fmt: skip
    result = run(*WORDS[name], *words, "--no-such-flag", check=2)
    assert "Traceback" not in result.stderr
    assert "--no-such-flag" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("im2rec", ["data/train", "ILSVRC/train"], ["data/train.lst", "--list --recursive"]),
        ("im2rec", ["--list", "--recursive", "data/train", "ILSVRC/train"], ["ILSVRC/train"]),
        ("fit", [], ["--data-train data/train.rec", "run first: python tools/im2rec.py"]),
        ("evaluate", [], ["runs/", "run python -m imagenet_trainer.fit first"]),
        ("predict", ["cat.jpg"], ["cat.jpg: No such file"]),
    ],
)
def test_with_nothing_there_each_says_what_to_run_first(tmp_path, name, words, told):
    result = run(*WORDS[name], *words, cwd=tmp_path, check=None)
    line = one_line_error(result, f"{name}: error: ", *told)
    assert result.stdout == "" and result.stderr == line + "\n"
    assert not list(tmp_path.rglob("*.*"))


def test_a_image_but_no_network(tmp_path):
    image = next((ROOT / "imagenet_trainer" / "assets" / "photos").rglob("*.jpg"))
    result = run(*WORDS["predict"], image, cwd=tmp_path, check=None)
    one_line_error(result, "predict: error: runs/: ", "run python -m imagenet_trainer.fit first")


@pytest.mark.parametrize("name", ["predict", "benchmark", "assets.demo_images", "im2rec"])
def test_words_that_are_missing(name):
    result = run(*WORDS[name], check=2)
    assert "required" in result.stderr and "Traceback" not in result.stderr


def test_console_scripts_are_the_same_functions():
    import configparser
    import importlib

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    found = dict(line.replace(" ", "").split("=") for line in lines)
    assert {"imagenet-fit", "imagenet-evaluate", "imagenet-predict", "imagenet-im2rec"} <= set(
        found
    )
    for target in found.values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
