"""A wheel and a source archive, and the commands of an installation outside of the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
PARTS = (
    ".ci", ".dockerignore", ".pre-commit-config.yaml", ".ruff.toml", "LICENSE", "MANIFEST.in",
    "README.md", "docs", "imagenet_trainer", "setup.cfg", "setup.py", "symbols", "tests", "tools",
)  # fmt: skip


def call(*words, **options):
    done = subprocess.run(
        [*map(str, words)], text=True, capture_output=True, check=False, **options
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with a copy of the checkout, without git, and what is built from it."""
    folder = tmp_path_factory.mktemp("built with a space")
    (folder / "source").mkdir()
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        more = {"symlinks": True} if copy is shutil.copytree else {}
        copy(ROOT / name, folder / "source" / name, **more)
    make = "import setuptools.build_meta as b; b.build_{}({!r})"
    for kind in ("sdist", "wheel"):
        call(sys.executable, "-c", make.format(kind, str(folder)), cwd=folder / "source")
    return folder


@pytest.fixture(scope="module")
def installed(built):
    """Runs a command of a fresh environment with the wheel, in a folder of its own."""
    environment, folder = built / "environment", built / "work"
    folder.mkdir()
    venv.create(environment, with_pip=False)
    wheel = next(built.glob("*.whl"))
    # The checkout, which PYTHONPATH may name, is no installation.
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    call(sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install",
         "--no-deps", "--no-index", wheel, env=clean)  # fmt: skip
    site = next(environment.glob("lib/python*/site-packages"))
    # What the package depends on, without the checkout, which is installed there by another .pth.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return lambda command, *words: call(
        environment / "bin" / command, *words, cwd=folder, env={**clean, "PYTHONSAFEPATH": "1"}
    )


def test_the_commands_of_the_demo_run(installed):
    installed("python", "-m", "imagenet_trainer.assets.demo_images", "images")
    for part in ("train", "val"):
        installed("imagenet-im2rec", "--list", "--recursive", f"data/{part}", f"images/{part}")
        installed("imagenet-im2rec", f"data/{part}", f"images/{part}", "--encoding", ".png")
    run = ("--model-prefix", "runs/small/model")
    installed(
        "imagenet-fit", "--network", "one-stage-cnn", "--image-shape", "3,28,28", "--num-epochs",
        "1", "--random-resized-crop", "0", "--random-crop", "1", "--pad-size", "2", *run,
    )  # fmt: skip
    assert "rank-1" in installed("imagenet-evaluate", *run, "--epochs", "all", "--gif", "--report")
    assert "dress" in installed("imagenet-predict", *run, "images/val/dress/0300.png")


def test_what_is_installed(installed):
    assert "imagenet-fit" in installed("python", "-m", "imagenet_trainer")
    code = "import imagenet_trainer.{0} as m; print(m.__file__)"
    assert "site-packages" in installed("python", "-c", code.format("symbols"))
    top = "import importlib.util as u; print(u.find_spec('symbols'))"
    assert installed("python", "-c", top) == "None\n"  # nothing that a user's folder may hide
    there = "import imagenet_trainer as m, os; print(os.listdir(os.path.dirname(m.__file__)))"
    assert "'py.typed'" in installed("python", "-c", there)


def test_the_source_archive_has_every_file_of_the_checkout(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    try:
        listed = call("git", "ls-files", cwd=ROOT).splitlines()
    except (OSError, AssertionError):
        pytest.skip("the checkout is not a git repository")
    listed.remove("imagenet_trainer/symbols")  # a link here, files there
    assert {*listed} - names == {".gitignore"} and "imagenet_trainer/symbols/resnet.py" in names


def test_a_checkout_without_links_builds(built, tmp_path):
    """Python's zipfile and Windows write a file with the target of the link."""
    source = tmp_path / "my checkout"
    shutil.copytree(built / "source", source, symlinks=True)
    link = source / "imagenet_trainer" / "symbols"
    link.unlink()
    link.write_text("../symbols")
    call(sys.executable, "setup.py", "egg_info", "--egg-base", str(tmp_path), cwd=source)
    assert link.is_symlink() and (link / "resnet.py").is_file()
