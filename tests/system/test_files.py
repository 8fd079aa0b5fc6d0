import errno
import os
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, run

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import atomic_write, file_error, make_folder, sha256


def test_a_write_is_atomic(tmp_path):
    with atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_keeps_the_old_file(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a", "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="a: No space left on device"):
        with atomic_write(tmp_path / "a", "w") as file:
            file.write("half")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (errno.EACCES, 2, "Permission denied"),
        (errno.EIO, 75, "Input/output error; check the disk or the network file system"),
        (errno.ESTALE, 75, "Stale file handle; mount the network file system again, and run"),
        (errno.ETIMEDOUT, 75, "Connection timed out; check the network file system, and run the"),
    ],
)
def test_an_unavailable_file_system_is_worth_another_try(number, code, line):
    error = file_error("a.rec", OSError(number, os.strerror(number)))
    assert error.exit_code == code and str(error).startswith(f"a.rec: {line}")


def test_what_killed_writers_left_is_removed_by_the_next_one(tmp_path):
    write = (
        "import os, signal, sys\nfrom imagenet_trainer.system.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file: os.kill(os.getpid(), signal.SIGKILL)"
    )
    for _ in range(2):  # the second process removes what the first one left
        run("-c", write, tmp_path / "a", check=-signal.SIGKILL)
    (killed,) = tmp_path.iterdir()
    machine = killed.name.split(".")[-2]
    dead = killed.name.split(".")[-3]
    kept = [
        f".a.{os.getppid()}.{machine}.tmp",
        f".a.{dead}.0123abcd.tmp",
        f".a.{dead}.tmp",
        "a.tmp",
    ]
    old = [f".b.{dead}.0123abcd.tmp", f".b.{dead}.tmp"]  # of another machine, and of old versions
    for name in kept + old:
        (tmp_path / name).write_text("")
    for name in old:
        os.utime(tmp_path / name, (0, 0))
    with atomic_write(tmp_path / "a"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted(["a", *kept])


def test_writers_in_a_container_of_the_same_name_are_left_alone(tmp_path):
    apart = ["unshare", "--fork", "--pid", "--mount-proc"]
    try:
        subprocess.run([*apart, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("process namespaces cannot be made")
    write = (
        "import sys\nfrom imagenet_trainer.system.files import atomic_write\n"
        "with atomic_write(sys.argv[1]): pass"
    )
    with atomic_write(tmp_path / "a") as file:  # no process of the other one has its number
        file.write(b"all")
        words = [*apart, sys.executable, "-c", write, str(tmp_path / "b")]
        subprocess.run(words, check=True, cwd=ROOT)
    assert (tmp_path / "a").read_bytes() == b"all"


def test_an_empty_name_is_one_line():
    with pytest.raises(InputError, match=r"^'': "), atomic_write(""):
        pass


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="a/b: Not a directory"):
        make_folder(tmp_path / "a" / "b")


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "a") == expected
