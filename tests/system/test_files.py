import errno
import os

import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import atomic_write, make_folder, sha256


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
