"""Which launcher, which addresses, when to restart; the command line."""

import os
import re
import signal
import sys

import pytest
from conftest import one_line_failure

from imagenet_trainer.config.launching import LaunchSettings
from imagenet_trainer.engines import choice
from imagenet_trainer.errors import InputError
from imagenet_trainer.launch import launcher
from imagenet_trainer.launch.launcher import chosen_launcher, hosts_of, root_address
from imagenet_trainer.launch.main import main, split_command
from imagenet_trainer.launch.plan import Host, Job, Member


@pytest.fixture(autouse=True)
def this_machine(monkeypatch):
    """No cluster, and a scheduler."""
    monkeypatch.setattr(choice, "installation_problem", lambda: None)
    for name in [name for name in os.environ if name.startswith(("SLURM_", "DMLC_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def refused(capsys):
    return one_line_failure(main, "launch", capsys)


# --- flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "own", "command"),
    [
        ("-n 4 -H hosts python -m x --lr 1", "-n 4 -H hosts", "python -m x --lr 1"),
        ("--num-workers=4 --dry-run python -n 2", "--num-workers=4 --dry-run", "python -n 2"),
        ("-s 2 -- -odd program", "-s 2", "-odd program"),
        ("-n 2", "-n 2", ""),
    ],
)
def test_the_command_begins_with_the_first_argument_that_is_not_a_flag(words, own, command):
    assert split_command(words.split()) == (own.split(), command.split())


def test_errors_name_the_flag(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "hosts").write_text("node1\n")
    hosts = str(tmp_path / "hosts")
    assert "no command" in refused("-n", "2")
    assert "--hostfile" in refused("--launcher", "ssh", "x")
    assert "--launcher slurm" in refused("-H", hosts, "--launcher", "slurm", "x")
    assert "SLURM_JOB_ID" in refused("--launcher", "slurm", "x")
    assert "--launcher mpi: mpirun" in refused("--launcher", "mpi", "x")
    assert "--launcher ssh: ssh" in refused("-H", hosts, "x")
    assert "--interface wire0" in refused("--interface", "wire0", "x")
    assert "--env MISSING: " in refused("--env", "MISSING", "x")
    elsewhere = refused("--host-address", "192.0.2.1", "--port", "9091", "x")
    assert elsewhere.startswith("--host-address 192.0.2.1: is not an address of this machine")


def test_without_mxnet(refused, monkeypatch):
    monkeypatch.setattr(choice, "installation_problem", lambda: "MXNet is not installed")
    assert refused("-n", "2", "x").startswith("--engine mxnet: MXNet is not installed; ")
    assert main(["-n", "2", "--dry-run", "python", "x.py"]) == 0


@pytest.mark.parametrize("engine", ["mxnet", "torch"])
def test_a_wrong_flag_of_fit_is_reported_once_and_starts_nothing(engine, capsys):
    words = ["--engine", engine, "-n", "2", "python", "-m", "imagenet_trainer.fit"]
    for wrong, hint in ((["--num-epoch", "1"], "--num-epochs"), (["--lr", "fast"], "--lr: 'fast'")):
        with pytest.raises(SystemExit) as ended:
            main([*words, *wrong])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("fit: error: ") and hint in line
    assert main([*words, "--recipe", "none"]) == 2
    assert "launch: error: --recipe none: " in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["--ssh='", "--ssh=", "--options='"])
def test_commands_have_closed_quotes(wrong, capsys):
    with pytest.raises(SystemExit):
        main([wrong, "x"])
    assert re.match(r"launch: error: --\w+: ['\"]+: must be a command", capsys.readouterr().err)


# --- launchers and addresses ----------------------------------------------------------------------


def test_the_automatic_launcher(monkeypatch, tmp_path):
    assert chosen_launcher(LaunchSettings()) == "local"
    assert chosen_launcher(LaunchSettings(hostfile="hosts", dry_run=True)) == "ssh"
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert chosen_launcher(LaunchSettings(dry_run=True)) == "slurm"
    assert chosen_launcher(LaunchSettings(hostfile="hosts", dry_run=True)) == "ssh"


def test_the_address_of_the_scheduler(monkeypatch):
    monkeypatch.setattr(launcher, "address_towards", lambda host: f"route to {host}")
    monkeypatch.setattr(launcher, "is_here", lambda host: host == "here")
    plain = LaunchSettings()
    assert root_address(plain, "local", []) == "127.0.0.1"
    assert root_address(plain, "ssh", [Host("here")]) == "127.0.0.1"
    assert root_address(plain, "ssh", [Host("here"), Host("me@far")]) == "route to far"
    assert root_address(plain, "mpi", []).startswith("route to 10.")
    assert root_address(LaunchSettings(interface="lo"), "ssh", [Host("far")]) == "127.0.0.1"
    chosen = LaunchSettings(host_address="10.1.2.3", interface="lo")
    assert root_address(chosen, "ssh", [Host("far")]) == "10.1.2.3"


def test_the_address_of_worker_0_is_on_the_first_host(monkeypatch):
    monkeypatch.setattr(launcher, "address_towards", lambda host: f"route to {host}")
    monkeypatch.setattr(launcher, "is_here", lambda host: host == "here")
    monkeypatch.setattr(launcher, "resolve", lambda host: f"address of {host}")
    torch = LaunchSettings(engine="torch")
    assert root_address(torch, "ssh", [Host("far"), Host("here")]) == "address of far"
    assert root_address(torch, "slurm", [Host("here"), Host("far")]) == "route to far"
    assert root_address(torch, "slurm", [Host("here")]) == "127.0.0.1"
    far = launcher.member_of(torch, ["x"], "192.0.2.1")
    assert (far.port, far.servers) == (29500, 0)  # no free one can be looked for there


def test_names_of_the_scheduler_s_machine_become_addresses():
    assert root_address(LaunchSettings(host_address="localhost"), "local", []) == "127.0.0.1"
    with pytest.raises(InputError, match=r"^--host-address no-such-host.invalid: "):
        root_address(LaunchSettings(host_address="no-such-host.invalid"), "local", [])


def test_an_alias_of_the_ssh_configuration(tmp_path, monkeypatch):
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\n[ "$1 $2 $3" = "-p7 -G gpu1.invalid" ] && echo hostname far\n')
    ssh.chmod(0o755)
    monkeypatch.setattr(launcher, "address_towards", lambda host: f"route to {host}")
    settings = LaunchSettings(ssh=f"{ssh} -p7")
    assert root_address(settings, "ssh", [Host("me@gpu1.invalid")]) == "route to far"
    # An unknown name, and a program that has no -G: the name itself, whose error names it.
    assert root_address(settings, "ssh", [Host("gpu2.invalid")]) == "route to gpu2.invalid"


def test_hosts_of_a_slurm_allocation(monkeypatch, tmp_path):
    tool = tmp_path / "scontrol"
    tool.write_text('#!/bin/sh\n[ "$3" = "n[1-2]" ] && printf "n1\\nn2\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    assert hosts_of(LaunchSettings(), "slurm") == [Host("n1"), Host("n2")]
    tool.unlink()
    assert hosts_of(LaunchSettings(), "slurm") == []


def test_a_dry_run_prints_the_commands(capsys, tmp_path):
    (tmp_path / "hosts").write_text("node1\nnode2\n")
    words = ["-n", "2", "-s", "1", "-H", tmp_path / "hosts", "--dry-run", "--port", "9091"]
    words += ["--host-address", "192.0.2.1", "python", "-m", "imagenet_trainer.fit"]
    assert main(list(map(str, words))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        "scheduler", "server 0 on node1", "worker 0 on node1", "worker 1 on node2"
    ]  # fmt: skip
    member = Member.decoded(lines[-1].rstrip("'").split()[-1])
    assert (member.root, member.port, member.workers) == ("192.0.2.1", 9091, 2)
    assert member.command == (sys.executable, "-m", "imagenet_trainer.fit")


# --- restarts -------------------------------------------------------------------------------------


@pytest.fixture
def attempts(monkeypatch):
    """The exit codes with which attempts end, and the ports that they received."""
    codes, ports = [], []

    class Attempt:
        def __init__(self, log, grace):
            pass

        def run(self, jobs):
            ports.append(Member.decoded(jobs[0].command[-1]).port)
            code = codes.pop(0)
            if callable(code):
                return code()
            return code

        def stop(self, number):
            pass

    monkeypatch.setattr(launcher, "Attempt", Attempt)
    return codes, ports


@pytest.mark.parametrize(
    ("ends", "result", "count"),
    [
        ([0], 0, 1),
        ([137, 1, 0], 0, 3),
        ([137, 1, 139, 134, 0], 134, 4),  # --max-restarts 3
        ([2, 0], 2, 1),  # a wrong flag or file
        ([127, 0], 127, 1),  # no such program
        ([75, 255, 0], 0, 3),  # a lost worker, and a machine that ssh does not reach
        ([143, 0], 143, 1),  # a worker received a signal
        ([lambda: os.kill(os.getpid(), signal.SIGTERM) or 137, 0], 137, 1),  # the launcher did
    ],
)
def test_restarts(attempts, ends, result, count, capsys):
    codes, ports = attempts
    codes += ends
    assert main(["-n", "2", "python"]) == result
    assert len(ports) == count
    log = capsys.readouterr().err
    assert log.count("launch: restart") == count - 1
    assert ("--max-restarts 3:" in log) == (count == 4)


def test_each_attempt_has_a_new_port(attempts):
    codes, ports = attempts
    codes += [1, 1, 0]
    assert main(["python"]) == 0
    assert len(set(ports)) == 3


def test_a_program_that_does_not_start_is_one_line(refused, monkeypatch):
    monkeypatch.setattr(launcher, "jobs_of", lambda *_: [Job("mpirun", ("/no/mpirun",), None)])
    monkeypatch.setattr(launcher, "log", lambda message: None)
    assert "/no/mpirun: No such file" in refused("python")


def test_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    with launcher.Signals().open():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
