"""Machines that a cluster starts with one command each."""

import pytest
from conftest import one_line_failure

from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.engines import choice
from imagenet_trainer.launch import nodes
from imagenet_trainer.launch.main import main
from imagenet_trainer.launch.plan import Member

TORCH = ("--engine", "torch", "-n", "4", "--nodes", "2", "--host-address", "first.invalid")


@pytest.fixture(autouse=True)
def this_machine(monkeypatch):
    monkeypatch.setattr(choice, "has_torch", lambda: True)
    monkeypatch.setenv(nodes.INDEX, "1")


@pytest.fixture
def refused(capsys):
    return one_line_failure(main, "launch", capsys)


def test_flags_that_contradict_each_other(refused, monkeypatch):
    assert refused("--dry-run", *TORCH[2:], "x").startswith("--nodes 2: needs --engine torch")
    assert "omit --hostfile" in refused(*TORCH, "-H", "hosts", "x")
    assert "omit --hostfile and --launcher" in refused(*TORCH, "--launcher", "ssh", "x")
    assert "--host-address" in refused(*TORCH[:-2], "x")
    assert refused(*TORCH[:-1], "first:2", "x").startswith("--host-address first:2: ")
    assert refused(*TORCH, "-n", "5", "x").startswith("-n 5: ")
    assert refused(*TORCH, "--node-rank", "2", "x").startswith("--node-rank 2: ")
    assert refused("--engine", "torch", "--node-rank", "0", "x").startswith("--node-rank 0: ")
    monkeypatch.setenv(nodes.INDEX, "2")
    assert refused(*TORCH, "x").startswith("JOB_COMPLETION_INDEX 2: ")
    monkeypatch.delenv(nodes.INDEX)
    assert "completionMode: Indexed" in refused(*TORCH, "x")


def test_each_machine_starts_its_part(capsys):
    # The address is not needed for it, and may not exist yet.
    assert main([*TORCH, "--dry-run", "python", "-m", "imagenet_trainer.fit"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["worker 2", "worker 3"]
    members = [Member.decoded(line.rstrip("'").split()[-1]) for line in lines]
    assert [(one.number, one.local, one.on_host) for one in members] == [(2, 0, 2), (3, 1, 2)]
    assert {(one.root, one.port, one.workers) for one in members} == {("first.invalid", 29500, 4)}
    settings = LaunchSettings(engine="torch", num_workers=4, nodes=2, node_rank=0)
    assert nodes.workers_here(settings) == range(2)
    assert nodes.workers_here(LaunchSettings(num_workers=3)) == range(3)
