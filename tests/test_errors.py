import ast
import configparser
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT

from imagenet_trainer.errors import (
    ArgumentError,
    InputError,
    LostWorkerError,
    attributed_to,
    exit_code_of,
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
        (OSError(24, "Too many open files"), "fit: error: Too many open files\n"),  # of a pipe
    ],
)  # fmt: skip
def test_one_line(error, line, capsys):
    assert run_command("fit", raising(error)) == 2
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x"), 2),
        (LostWorkerError("x"), 75),
        *((OSError(number, "x"), 2) for number in (1, 2, 13, 17, 20, 21, 27, 28, 30, 36, 122)),
        # Of disks and of file systems over a network.
        *((OSError(number, "x"), 75) for number in (5, 103, 107, 108, 110, 112, 116, 121)),
        (MemoryError(), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_code_of_an_error_is_that_of_the_command(error, code):
    assert exit_code_of(error) == code == run_command("fit", raising(error))
    assert exit_code_of(KeyError("a bug")) == 1


def test_bugs_keep_their_traceback():
    with pytest.raises(KeyError):
        run_command("fit", raising(KeyError("x")))


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("4 GiB for an array")])
def test_full_memory_is_one_line(error, capsys):
    assert run_command("im2rec", raising(error)) == 2
    line = capsys.readouterr().err
    assert line.startswith("im2rec: error: out of memory") and line.count("\n") == 1
    assert str(error) in line


def test_an_error_while_memory_is_full_is_one_line(capsys):
    def body():
        try:
            raise MemoryError
        finally:
            raise ValueError("I/O operation on closed file")  # zipfile's, as it is closed

    assert run_command("fit", body) == 2
    assert run_command("fit", raising(RuntimeError("can't start new thread"))) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("fit: error: out of memory") == second.startswith("fit: error: out")


class FailsWhenRemoved:
    def __del__(self):
        raise ValueError("I/O operation on closed file")


def test_what_fails_because_of_a_reported_error_is_silent(capsys):
    def body():
        held = FailsWhenRemoved()
        raise InputError(f"full disk: {type(held)}")

    assert run_command("fit", body) == 2
    assert capsys.readouterr().err.count("\n") == 1

    def without_error():
        FailsWhenRemoved()

    assert run_command("fit", without_error) == 0
    assert "FailsWhenRemoved.__del__" in capsys.readouterr().err


def test_ctrl_c_after_the_end_of_a_command_has_no_traceback():
    code = (
        "import os, signal, sys\nfrom imagenet_trainer.errors import run_command\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "run_command('x', lambda: None)\nos.kill(os.getpid(), signal.SIGINT)\nprint('here')"
    )
    result = run_python(code)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


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
    ("encoding", "text"), [("utf-8", "Kätzchen 日 \\xe4"), ("ascii", "K\\xe4tzchen \\u65e5 \\xe4")]
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


# Stands for a module that a command imports while it starts.
KILL = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


def run_with_stub(name, command, folder):
    """Run a command that is interrupted when it imports the module `name`."""
    (folder / f"{name}.py").write_text(KILL)
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.parametrize("program", ["-m", "imagenet-fit", "im2rec.py"])
def test_ctrl_c_while_a_command_starts_shows_no_traceback(program, tmp_path):
    command = ["-m", "imagenet_trainer.fit"]
    if program == "imagenet-fit":
        (tmp_path / program).write_text("import imagenet_trainer.fit")
        command = [str(tmp_path / program)]
    elif program == "im2rec.py":
        command = [str(ROOT / "tools" / program)]
    done = run_with_stub("argparse", command, tmp_path)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


def test_all_commands_handle_ctrl_c_before_any_other_import():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    modules = {line.split("=")[1].strip().partition(":")[0] for line in filter(None, scripts)}
    assert len(modules) > 10
    for module in modules:
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        first = next(node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)))
        assert first.names[0].name == "imagenet_trainer.system.interruptible", module


def test_a_program_that_imports_a_command_keeps_its_interrupts(tmp_path):
    (tmp_path / "imagenet-mine.py").write_text("import imagenet_trainer.fit")
    done = run_with_stub("argparse", [str(tmp_path / "imagenet-mine.py")], tmp_path)
    assert "KeyboardInterrupt" in done.stderr


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
    done = run_with_stub("numpy", command, tmp_path)
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
