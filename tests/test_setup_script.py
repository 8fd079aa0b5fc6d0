"""tools/setup.sh in several shells, with interpreters and GPUs that only pretend to be there."""

import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from helpers.fake_gpus import H100, V100, show

SHELLS = ("bash", "zsh", "dash")
FILES = (
    "tools/setup.sh", "setup.cfg", "setup.py", "imagenet_trainer/__init__.py",
    "imagenet_trainer/errors.py", "imagenet_trainer/text.py", "imagenet_trainer/system/__init__.py",
    "imagenet_trainer/system/gpus.py", "imagenet_trainer/system/wheels.py",
    "imagenet_trainer/data/images/_jpeg_window.c",
)  # fmt: skip
# The version is changed before the program starts.
VERSION = "import sys; sys.version_info = (3, {minor}, 0, 'final', 0)\n"
INTERPRETER = """#!/bin/sh
case "$1 $2" in
    "--version ") echo "Python 3.{minor}.0"; exit ;;
    "-m venv")
        [ ! -e {broken} ] || exit 1
        mkdir -p "$3/bin"
        echo "VIRTUAL_ENV='$3'; export VIRTUAL_ENV" >"$3/bin/activate"
        cp {pip} "$3/bin/python"
        exit ;;
esac
PYTHONPATH={folder} exec {real} "$@"
"""
PIP = """#!/bin/sh
echo "$PWD: $*" >>{log}
[ ! -e {broken} ]
"""


class Machine:
    """A copy of the checkout, a folder with another project, and a PATH with fake programs."""

    def __init__(self, folder):
        self.root, self.elsewhere, self.tools = (
            folder / name for name in ("the checkout", "project", "tools")
        )
        for name in FILES:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        (self.elsewhere / ".venv").mkdir(parents=True)
        (self.elsewhere / ".venv" / "precious").write_text("work of a year")
        self.tools.mkdir()
        self.log, self.broken = folder / "pip.log", folder / "broken"
        self._program("pip", PIP.format(log=shlex.quote(str(self.log)), broken=self._broken))
        for name in ("python3", *(f"python3.{minor}" for minor in range(9, 15))):
            self._program(name, "#!/bin/sh\nexit 1\n")
        self.gpus()

    @property
    def _broken(self):
        return shlex.quote(str(self.broken))

    def _program(self, name, text):
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def python(self, name, minor):
        """An interpreter of Python 3.`minor` on PATH."""
        folder = self.tools / f"3.{minor}"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(VERSION.format(minor=minor))
        text = INTERPRETER.format(
            minor=minor, folder=shlex.quote(str(folder)), real=shlex.quote(sys.executable),
            pip=shlex.quote(str(self.tools / "pip")), broken=self._broken,
        )  # fmt: skip
        self._program(name, text)

    def gpus(self, script="exit 9"):
        self._program("nvidia-smi", f"#!/bin/sh\n{script}\n")

    def setup(self, extras="", shell="bash", cwd=None, options="", **variables):
        """Source the script; return its exit code, VIRTUAL_ENV after it, the lines on stderr."""
        path = shlex.quote(str(self.root / "tools" / "setup.sh"))
        words = f". {path} {extras}" if shell != "dash" else f". {path}"
        program = f'{options}\n{words}\ncode=$?\necho "$code $VIRTUAL_ENV"'
        done = subprocess.run(
            [shell, "-c", program],
            cwd=cwd or self.elsewhere,
            env={
                "PATH": f"{self.tools}:/usr/bin:/bin", "HOME": str(self.tools), "EXTRAS": extras,
                "VIRTUAL_ENV": "", **variables,
            },
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        code, _, environment = (done.stdout.splitlines() or ["died "])[-1].partition(" ")
        return code, environment, done.stderr.splitlines()

    @property
    def installed(self):
        """Folders and extras with which pip was called."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.rpartition(" .[")[2].rstrip("]") for line in lines if line.endswith("]")]


@pytest.fixture
def here(tmp_path):
    machine = Machine(tmp_path)
    machine.python("python3", 11)
    return machine


@pytest.fixture(params=SHELLS)
def shell(request):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


def test_the_environment_is_made_in_the_checkout(here, shell):
    venv = here.root / ".venv"
    assert here.setup("export", shell) == ("0", str(venv), [])
    assert here.installed == ["mxnet,export"] and (venv / "fits").exists()
    assert f"{here.root}: -m pip install" in here.log.read_text()
    # The folder from which it was called keeps its own.
    assert (here.elsewhere / ".venv" / "precious").exists()
    assert here.setup("export", shell) == ("0", str(venv), [])
    assert here.installed == ["mxnet,export"]


def test_strict_shells(here, shell):
    code, venv, _ = here.setup("", shell, options="cd /; set -eu")
    assert (code, venv) == ("0", str(here.root / ".venv"))


def test_no_function_is_left(here, shell):
    function = "command -v _setup && echo leaked"
    code, venv, _ = here.setup("", shell, options=f"trap '{function}' EXIT")
    assert (code, venv) == ("0", str(here.root / ".venv"))


def test_an_environment_of_others_is_never_removed(here, shell):
    own = here.root / ".venv"
    own.mkdir()
    (own / "precious").write_text("work of a year")
    code, venv, (line,) = here.setup("", shell)
    assert (code, venv) == ("1", "") and "VENV=" in line
    assert (own / "precious").exists() and not here.installed
    code, venv, _ = here.setup("", shell, VENV=".venv-2")
    assert (code, venv) == ("0", str(here.root / ".venv-2"))


def test_it_is_made_again_when_it_no_longer_fits(here):
    here.setup()
    left = here.root / ".venv" / "left"
    left.touch()
    with open(here.root / "setup.cfg", "a") as file:
        file.write("# changed\n")
    here.setup()
    here.setup("export")
    assert here.installed == ["mxnet", "mxnet", "mxnet,export"] and not left.exists()


def test_without_a_registry_the_variable_of_a_mirror_is_named(here):
    here._program("pip", "#!/bin/sh\necho 'ERROR: no such host' >&2\nexit 1\n")
    code, venv, lines = here.setup()
    assert (code, venv) == ("1", "") and "PIP_INDEX_URL=" in lines[-1]


def test_an_interrupted_installation_is_repeated(here):
    here.broken.touch()
    code, venv, _ = here.setup()
    assert (code, venv) == ("1", "") and (here.root / ".venv" / "fits").exists()
    here.broken.unlink()
    assert here.setup()[0] == "0"
    # Without the package python3-venv.
    here.broken.touch()
    with open(here.root / "setup.py", "a") as file:
        file.write("# changed\n")
    code, venv, lines = here.setup()
    assert code == "1" and lines[-1].endswith("apt-get install python3-venv")


# tests/system/test_wheels.py has all of them.
@pytest.mark.parametrize(("gpu", "extra"), [(V100, "cu117"), (H100, "torch")])
def test_the_gpus_choose_the_engine(here, gpu, extra):
    here.gpus(show(gpu))
    here.setup()
    assert here.installed == [extra]


def test_the_engine_may_be_named(here):
    here.gpus(show(V100))
    here.setup("test", ENGINE="torch")
    here.setup("cpu")
    assert here.installed == ["torch,test", "cpu"]
    # GluonCV, which needs MXNet, is installed with it only.
    assert "gluoncv" not in here.log.read_text()
    here.setup("test")
    assert "gluoncv" in here.log.read_text().splitlines()[-1]
    code, _, (line,) = here.setup(ENGINE="caffe")
    assert code == "1" and "ENGINE=caffe" in line


# --- interpreters ---------------------------------------------------------------------------------


def test_newer_pythons_have_pytorch(here):
    here.python("python3", 13)
    code, _, (line,) = here.setup()
    assert code == "0" and here.installed == ["torch"]
    assert "3.13" in line and "PyTorch" in line


def test_mxnet_is_refused_at_once(here):
    here.python("python3", 13)
    code, venv, (line,) = here.setup("mxnet")
    assert (code, venv) == ("1", "") and not (here.root / ".venv").exists()
    assert "Python 3.9 to 3.12" in line and "PYTHON=" in line


def test_an_older_python_for_mxnet_is_preferred(here):
    here.python("python3", 14)
    here.python("python3.10", 10)
    here.setup()
    assert here.installed == ["mxnet"]
    here.setup(PYTHON="python3")
    assert here.installed == ["mxnet", "torch"]


def test_no_python(here, shell):
    here.python("python3", 8)
    code, venv, (line,) = here.setup("", shell)
    assert (code, venv) == ("1", "") and "PYTHON=" in line
    code, _, (line,) = here.setup("", shell, PYTHON="/no/python")
    assert code == "1" and "/no/python" in line


def test_an_unknown_extra(here):
    code, _, (line,) = here.setup("tset")
    assert code == "1" and "tset" in line and "test" in line
    assert not (here.root / ".venv").exists()


def test_the_script_is_found_by_any_path(here, shell):
    tools = here.root / "tools"
    for cwd, path in (
        (here.root, "tools/setup.sh"),
        (tools, "./setup.sh"),
        (tools, "../tools/setup.sh"),
    ):
        words = [shell, "-c", f'. {path} && echo "$VIRTUAL_ENV"']
        done = subprocess.run(
            words, cwd=cwd, env={"PATH": f"{here.tools}:/usr/bin:/bin"}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == str(here.root / ".venv")


def test_scripts_that_call_it_keep_their_arguments(here):
    script = here.elsewhere / "job.sh"
    script.write_text(
        f'set -euo pipefail\n. {shlex.quote(str(here.root))}/tools/setup.sh ""\necho "$@"\n'
    )
    done = subprocess.run(
        ["bash", str(script), "one", "two"],
        env={"PATH": f"{here.tools}:/usr/bin:/bin", "HOME": "/"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "one two"
    assert (here.root / ".venv" / "fits").exists()
