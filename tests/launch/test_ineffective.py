"""Flags of the launcher that change nothing are refused."""

import pytest
from conftest import one_line_failure

from imagenet_trainer.engines import choice
from imagenet_trainer.launch.main import main


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("--engine torch --port 9091", "--port 9091"),
        ("--engine torch --grace 5", "--grace 5"),
        ("--engine torch --env A=1,B", "--env A=1,B"),
        ("--engine torch -s 2", "--num-servers 2"),
        ("--engine torch --nodes 2 --node-rank 0 --host-address first --grace 5 --port 1", ""),
        ("--engine torch --nodes 2 --node-rank 0 --host-address first -s 2", "--num-servers 2"),
        ("--port 9091 --grace 5 -s 2 --env A=1", ""),
        ("--options=--bind-to", "--options --bind-to"),
        ("-H hosts --launcher ssh --options=--bind-to", "--options --bind-to"),
        ("-H hosts --launcher mpi --options=--bind-to", ""),
        ("-H hosts --launcher mpi --ssh sh", "--ssh sh"),
        ("-H hosts --ssh sh", ""),
    ],
)  # fmt: skip
def test_flags_without_an_effect(words, refused, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(choice, "has_torch", lambda: True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts").write_text("127.0.0.1\n")
    argv = ["-n", "2", *words.split(), "--dry-run", "x"]
    if refused:
        error = one_line_failure(main, "launch", capsys)(*argv)
        assert error.startswith(f"{refused}: has no meaning with --")
    else:
        assert main(argv) == 0
