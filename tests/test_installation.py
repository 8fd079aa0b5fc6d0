"""A wheel and a source archive, and the commands of an installation outside of the checkout."""

import functools
import http.server
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import threading
import venv
import zipfile
from importlib import metadata

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

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


# --- from a mirror -----------------------------------------------------------------------------


def write_wheel(folder, name, version, files=()):
    """A wheel; without files it is one that only claims to be a package."""
    stem = f"{name.replace('-', '_')}-{version}"
    described = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    there = folder / name.lower() / f"{stem}-py3-none-any.whl"
    there.parent.mkdir(parents=True)
    with zipfile.ZipFile(there, "w") as wheel:
        for path in files:
            wheel.write(path.locate(), str(path))
        for file, text in described.items():
            if f"{stem}.dist-info/{file}" not in wheel.namelist():
                wheel.writestr(f"{stem}.dist-info/{file}", text)
        if f"{stem}.dist-info/RECORD" not in wheel.namelist():
            wheel.writestr(f"{stem}.dist-info/RECORD", "")


def oldest_versions():
    """The oldest version of each package that the engines of setup.cfg and the package allow."""
    script = ROOT / "tools" / "docker" / "requirements.py"
    allowed = {}
    for line in call(sys.executable, script, "mxnet,torch", cwd=ROOT).splitlines():
        one = Requirement(line)
        if one.marker is None or one.marker.evaluate():
            allowed[one.name] = allowed.get(one.name, SpecifierSet()) & one.specifier
    for name, specifiers in allowed.items():
        named = [one.version for one in specifiers if one.operator in (">=", "==")]
        yield name, next(filter(specifiers.contains, [*named, "0.1"]))


@pytest.fixture
def mirror(tmp_path):
    """An index with empty packages on 127.0.0.1: its address, and the paths that it was asked."""
    folder, asked = tmp_path / "mirror" / "simple", []
    one = metadata.distribution("setuptools")  # works, and needs no `wheel` from 70.1 on
    files = [file for file in one.files or () if ".." not in file.parts and file.suffix != ".pyc"]
    write_wheel(folder, "setuptools", one.version, files)
    for name, version in (*oldest_versions(), ("wheel", "0.40")):
        if not (folder / name.lower()).exists():
            write_wheel(folder, name, version)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple/", asked
        server.shutdown()


def test_setup_takes_all_packages_from_a_mirror(built, mirror, tmp_path):
    """As a user does, in a path with spaces, and with an umask that hides new files from others."""
    index, asked = mirror
    checkout = tmp_path / "a checkout"
    shutil.copytree(built / "source", checkout, symlinks=True)
    # pip may have other indexes in its files and variables.
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))
    }
    variables = {
        "PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull, "PYTHON": sys.executable,
        "HOME": str(tmp_path / "home"), "PIP_NO_CACHE_DIR": "1",
    }  # fmt: skip
    words = "umask 077; . tools/setup.sh && python -m imagenet_trainer && pip list"
    printed = call("bash", "-c", words, cwd=checkout, env={**clean, **variables})
    assert "imagenet-fit" in printed and str(checkout) in printed
    for name, _ in oldest_versions():
        if name not in ("torch", "mxnet", "nvidia-ml-py", "setuptools"):
            assert any(path.startswith(f"/simple/{name.lower()}/") for path in asked), name
    assert any("mxnet" in path or "torch" in path for path in asked)
