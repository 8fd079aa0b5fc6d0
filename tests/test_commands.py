"""Tests of every command line."""

import configparser
import importlib
import inspect

import pytest
from conftest import ROOT, one_line_error, run

from imagenet_trainer import __version__

COMMANDS = ("fit", "compare", "evaluate", "predict", "export", "published", "doctor", "benchmark",
            "assets.demo_images")  # fmt: skip
TOOLS = ("im2rec", "explore", "imagenet", "launch")
COMMAND_LINES = {
    **{name: [str(ROOT / "tools" / f"{name}.py")] for name in TOOLS},
    **{name: ["-m", f"imagenet_trainer.{name}"] for name in COMMANDS},
}
MODULES = {"im2rec": "packing.im2rec", "explore": "explore.command",
           "imagenet": "packing.ilsvrc.command", "launch": "launch.main"}  # fmt: skip
# Packages whose import would delay --help.
HEAVY = ("numpy", "cv2", "mxnet", "pandas", "datashader", "xarray", "PIL", "tqdm",
         "matplotlib", "tensorboard", "pynvml", "torch", "onnx", "scipy", "gluoncv",
         "jinja2", "importlib.metadata")  # fmt: skip


def exit_code(name, *argv):
    """Run a command in this process."""
    module = importlib.import_module(f"imagenet_trainer.{MODULES.get(name, name)}")
    try:
        return module.main(argv)
    except SystemExit as error:
        return error.code


@pytest.mark.parametrize("name", sorted(COMMAND_LINES))
def test_help_imports_no_large_library(name):
    result = run("-X", "importtime", *COMMAND_LINES[name], "--help")
    assert result.stdout.startswith(f"usage: {name.rpartition('.')[2]} ")
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported.intersection(HEAVY)


@pytest.mark.parametrize("name", sorted(COMMAND_LINES))
def test_a_misspelt_flag_is_one_line(name, capsys):
    argv = {"predict": ["cat.jpg"], "im2rec": ["data/train", "images"], "benchmark": ["loader"],
             "assets.demo_images": ["images"], "explore": ["images"],
             "imagenet": ["lists", "images"]}.get(name, [])  # fmt: skip
    assert exit_code(name, *argv, "--no-such-flag") == 2
    assert "--no-such-flag" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "argv", "parts"),
    [
        ("im2rec", ["data/train", "."], ["data/train.lst", "--list --recursive"]),
        ("im2rec", ["--list", "--recursive", "data/train", "ILSVRC/train"], ["ILSVRC/train"]),
        ("fit", [], ["--data-train data/train.rec", "run first: python tools/im2rec.py"]),
        ("evaluate", [], ["runs/", "python -m imagenet_trainer.fit"]),
        ("predict", ["cat.jpg"], ["cat.jpg: No such file"]),
    ],
)
def test_without_any_files_each_names_the_command_to_run_first(
    tmp_path, monkeypatch, capsys, name, argv, parts
):
    monkeypatch.chdir(tmp_path)
    assert exit_code(name, *argv) == 2
    out, error = capsys.readouterr()
    assert error.startswith(f"{name}: error: ") and all(part in error for part in parts)
    assert out == "" and error.count("\n") == 1
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("name", ["predict", "benchmark", "assets.demo_images", "im2rec"])
def test_missing_arguments(name, capsys):
    assert exit_code(name) == 2 and "required" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(COMMAND_LINES))
def test_version(name, capsys):
    assert exit_code(name, "--version") == 0
    assert capsys.readouterr().out == f"imagenet-trainer {__version__}\n"


@pytest.fixture
def scripts():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].strip().splitlines()
    return dict(line.replace(" ", "").split("=") for line in lines)


def test_the_package_lists_its_commands(scripts):
    lines = run("-m", "imagenet_trainer", "-h").stdout.splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("imagenet-")}
    assert listed - {"imagenet-trainer"} == scripts.keys()
    assert run("-m", "imagenet_trainer", "--version").stdout.split()[1] == __version__
    error = one_line_error(
        run("-m", "imagenet_trainer", "fit", check=2), "imagenet_trainer: error: fit: "
    )
    assert error.endswith("run python -m imagenet_trainer.fit")


@pytest.mark.parametrize(
    ("line", "found"),
    [("imagenet-fit --netw", "--network"), ("imagenet-fit --optimizer na", "nag"),
     ("imagenet-evaluate --rep", "--report")],
)  # fmt: skip
def test_completions_for_shells(scripts, line, found, tmp_path):
    pytest.importorskip("argcomplete")
    module = scripts[line.split()[0]].partition(":")[0]
    out = tmp_path / "completions"
    # The mark by which argcomplete's global hook knows the module.
    assert "PYTHON_ARGCOMPLETE_OK" in inspect.getsource(importlib.import_module(module))[:1024]
    env = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(out), "COMP_LINE": line,
           "COMP_POINT": str(len(line)), "_ARGCOMPLETE_SUPPRESS_SPACE": "1"}  # fmt: skip
    run("-m", module, env=env, check=None)
    assert found in out.read_text().split("\v")


def test_console_scripts_exist(scripts):
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
