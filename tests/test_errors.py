import os
import subprocess
import sys

import pytest
from conftest import ROOT

from imagenet_trainer.errors import (
    ArgumentError,
    InputError,
    LostWorkerError,
    attributed_to,
    run_command,
)


def raising(error):
    def body():
        raise error

    return body


def test_exit_codes():
    assert run_command("fit", lambda: None) == 0
    assert run_command("fit", lambda: 143) == 143
    assert run_command("fit", raising(KeyboardInterrupt())) == 130


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("--lr 9: too\nmuch"), "fit: error: --lr 9: too much\n"),
        (OSError(28, "No space left", "a.rec"), "fit: error: a.rec: No space left\n"),
    ],
)  # fmt: skip
def test_one_line(error, line, capsys):
    assert run_command("fit", raising(error)) == 2
    assert capsys.readouterr().err == line


def test_bugs_keep_their_traceback():
    with pytest.raises(KeyError):
        run_command("fit", raising(KeyError("x")))


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("4 GiB for an array")])
def test_full_memory_is_one_line(error, capsys):
    assert run_command("im2rec", raising(error)) == 2
    line = capsys.readouterr().err
    assert line.startswith("im2rec: error: out of memory") and line.count("\n") == 1
    assert str(error) in line


def run_python(code, *argv, **keywords):
    return subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, **keywords
    )


PRINTS = """
import sys
from imagenet_trainer.errors import run_command
sys.exit(run_command("x", lambda: print("K\\xe4tzchen \\u65e5 \\udce4")))
"""


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "Kätzchen 日 \\udce4"), ("ascii", "K\\xe4tzchen \\u65e5 \\udce4")],
)
def test_any_name_can_be_printed(encoding, text):
    done = run_python(PRINTS, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout, done.stderr) == (0, text + "\n", "")


def test_a_full_disk_for_the_output_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "x: error: standard output: No space left on device\n"


def test_a_closed_pipe_ends_quietly():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", PRINTS], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_output_and_errors_may_be_closed():
    code = PRINTS.replace("import sys\n", "import sys\nsys.stdout = sys.stderr = None\n", 1)
    code = code.replace("lambda: print", "lambda: sys.stderr.isatty() or print")
    assert run_python(code).returncode == 0


def test_importing_the_package_changes_nothing():
    code = """
import signal, sys
sys.argv[0] = "/usr/bin/imagenet-fit"
from imagenet_trainer import evaluate, fit
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    assert run_python(code).stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "imagenet_trainer.fit"],
        ["-m", "imagenet_trainer.evaluate"],
        ["-m", "imagenet_trainer.predict", "cat.jpg"],
        ["-m", "imagenet_trainer.export"],
        ["-m", "imagenet_trainer.doctor"],
        ["-m", "imagenet_trainer.compare", "--networks", "resnet-18"],
        ["-m", "imagenet_trainer.benchmark", "numbers"],
        ["-m", "imagenet_trainer.explore.command", "images"],
        [str(ROOT / "tools" / "im2rec.py"), "train", "images"],
        ["-c", "import imagenet_trainer.fit as fit, sys; sys.exit(fit.main([]))"],
    ],
    ids=lambda command: " ".join(command[:2]).rpartition("/")[2],
)
def test_ctrl_c_while_a_command_imports_is_one_line(command, tmp_path):
    # An interrupt that arrives when the first large library is imported.
    (tmp_path / "train.lst").write_text("0\t0\ta.jpg\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "numpy.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 130 and done.stderr.count("\n") == 1, done.stderr
    assert "interrupted" in done.stderr


def test_attributed_to_prefixes_the_flag_and_keeps_the_class():
    message = r"^--config a\.json: --kv-store dist: gone$"
    with pytest.raises(LostWorkerError, match=message), attributed_to("--config a.json"):
        with attributed_to("--kv-store dist"):
            raise LostWorkerError("gone")


def test_an_argument_becomes_its_flag_on_the_command_line_only(capsys):
    error = ArgumentError("image_shape", (3, 8, 8), "too small; use 3,16,16")
    assert str(error) == "image_shape 3,8,8: too small; use 3,16,16"
    assert run_command("fit", raising(error)) == 2
    assert capsys.readouterr().err == "fit: error: --image-shape 3,8,8: too small; use 3,16,16\n"
    with (
        pytest.raises(ArgumentError, match=r"^a\.json: --image-shape 3,8,8"),
        attributed_to("a.json"),
    ):
        raise error
