import base64
import json
import shlex
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.launch import plan
from imagenet_trainer.launch.plan import Host, Member, places, read_hosts

MEMBER = Member(
    workers=3, servers=2, root="10.0.0.1", port=9091, command=("python", "-m", "x", "it's; $HOME"),
    python="/opt/py thon", directory="/data/a b", environment={"OMP_NUM_THREADS": "4"},
)  # fmt: skip


def members_of(job):
    return Member.decoded(job.command[-1].split()[-1])


# --- hosts ----------------------------------------------------------------------------------------


def test_a_host_file(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# ours\nnode1\nuser@node2:2222  slots=2\n\n10.0.0.3 slots=3  # fat\n")
    assert read_hosts(str(path)) == [
        Host("node1"), Host("user@node2", 2222, 2), Host("10.0.0.3", None, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("node1\n-oProxyCommand=reboot\n", "line 2: '-oProxyCommand=reboot'"),
        ("node1; reboot\n", "line 1"),
        ("node1 slots=00\n", "line 1"),
        ("node1 slots=99999999999\n", "line 1"),
        ("node1 node2\n", "line 1"),
        ("# nothing\n", "names no host"),
    ],
)
def test_a_wrong_host_file(tmp_path, text, problem):
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(InputError, match="hosts") as caught:
        read_hosts(str(tmp_path / "hosts"))
    assert problem in str(caught.value)
    with pytest.raises(InputError, match="--hostfile nowhere: "):
        read_hosts("nowhere")


def test_processes_fill_the_slots_in_turn():
    one, two = Host("a"), Host("b", None, 2)
    assert [host.name for host in places(5, [one, two])] == ["a", "b", "b", "a", "b"]


# --- members --------------------------------------------------------------------------------------


def test_a_member_is_encoded_as_one_word_that_needs_no_quotes():
    word = MEMBER.encoded()
    assert Member.decoded(word) == MEMBER
    assert shlex.quote(word.replace("=", "")) == word.replace("=", "")


def test_a_member_of_another_version_is_refused():
    values = {**asdict(MEMBER), "newer": 1}
    word = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    with pytest.raises(InputError, match="another version than the launcher's"):
        Member.decoded(word)


@pytest.mark.parametrize(
    ("environment", "role", "number"),
    [
        ({"SLURM_PROCID": "0"}, "server", 0),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "server", 1),
        ({"PMI_RANK": "2"}, "worker", 0),
        ({"PMIX_RANK": "4", "PMI_RANK": ""}, "worker", 2),
    ],
)
def test_role_and_number_follow_from_the_rank(environment, role, number):
    placed = MEMBER.placed(environment)
    assert (placed.role, placed.number) == (role, number)
    fixed = replace(MEMBER, role="worker", number=1)
    assert fixed.placed(environment) is fixed


def test_no_rank():
    with pytest.raises(InputError, match="SLURM_PROCID"):
        MEMBER.placed({})


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"SLURM_PROCID": "4", "SLURM_LOCALID": "1", "SLURM_NODEID": "3",
          "SLURM_STEP_TASKS_PER_NODE": "1(x3),2"}, (4, 1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0",
          "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, (1, 0, 1)),
        ({"PMI_RANK": "2", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "3"}, (2, 2, 3)),
    ],
)  # fmt: skip
def test_a_worker_of_pytorch_knows_its_place_on_the_machine(environment, place):
    placed = replace(MEMBER, engine="torch", servers=0).placed(environment)
    assert (placed.number, placed.local, placed.on_host) == place and placed.role == "worker"


# --- what other machines receive -------------------------------------------------------------


def test_variables_passed_to_other_machines():
    here = {"MXNET_X": "1", "OMP_NUM_THREADS": "2", "HOME": "/root", "SECRET": "s", "A": "a b"}
    assert plan.passed_environment((), here) == {"MXNET_X": "1", "OMP_NUM_THREADS": "2"}
    flags = {"IMAGENET_TRAINER_LR": "2", "IMAGENET_TRAINER_RANK": "3"}  # a flag of fit, and ours
    assert plan.passed_environment((), flags) == {"IMAGENET_TRAINER_LR": "2"}
    more = plan.passed_environment(("A", "B=c=d"), here)
    assert more["A"] == "a b" and more["B"] == "c=d" and "SECRET" not in more
    with pytest.raises(InputError, match="--env C: "):
        plan.passed_environment(("C",), here)
    with pytest.raises(InputError, match="--env 1;reboot=: "):
        plan.passed_environment(("1;reboot=",), here)


def test_a_remote_shell_receives_every_argument_unchanged(tmp_path):
    # sshd too passes the last argument to a shell.
    (tmp_path / "a b").mkdir()
    show = tmp_path / "py thon"
    show.write_text("#!/bin/sh\npwd\nprintf '%s\\n' \"$@\"\n")
    show.chmod(0o755)
    member = replace(MEMBER, directory=str(tmp_path / "a b"), python=str(show))
    words = plan.through_ssh(("ssh", "-o", "BatchMode=yes"), Host("u@h", 2222), member)
    assert words[:6] == ("ssh", "-o", "BatchMode=yes", "-p", "2222", "u@h") and len(words) == 7
    shell = subprocess.run(["sh", "-c", words[6]], capture_output=True, text=True, check=True)
    where, *rest = shell.stdout.splitlines()
    assert where == member.directory
    assert rest[:2] == ["-m", "imagenet_trainer.launch.member"]
    assert Member.decoded(rest[2]) == member


def test_jobs_on_this_machine():
    jobs = [plan.scheduler_job(MEMBER), *plan.local_jobs(MEMBER)]
    assert [job.name for job in jobs] == [
        "scheduler", "server 0", "server 1", "worker 0", "worker 1", "worker 2"
    ]  # fmt: skip
    last = members_of(jobs[-1])
    assert (last.role, last.number, last.on_host) == ("worker", 2, 3)


def test_jobs_over_ssh():
    hosts = [Host("a", None, 2), Host("b")]
    jobs = plan.ssh_jobs(MEMBER, hosts, ("ssh",))
    assert [job.name for job in jobs] == [
        "server 0 on a", "server 1 on a", "worker 0 on a", "worker 1 on a", "worker 2 on b"
    ]  # fmt: skip
    assert members_of(jobs[2]).on_host == 2 and members_of(jobs[4]).on_host == 1
    assert members_of(jobs[4]).name == "b"
    assert [members_of(job).local for job in jobs[2:]] == [0, 1, 0]
    twice = plan.ssh_jobs(MEMBER, [Host("a", None, 2), Host("a")], ("ssh",))[2:]
    assert [(members_of(job).local, members_of(job).on_host) for job in twice] == [
        (0, 3), (1, 3), (2, 3)
    ]  # fmt: skip


def test_one_command_starts_all(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    mpi = plan.mpi_job(MEMBER, "hosts", ("--bind-to", "none"))
    assert mpi.command[:7] == ("mpirun", "-n", "5", "-machinefile", "hosts", "--bind-to", "none")
    slurm = plan.slurm_job(MEMBER, ())
    assert slurm.command[0] == "srun" and "--kill-on-bad-exit=1" in slurm.command
    assert slurm.command[slurm.command.index("--ntasks") + 1] == "5"
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    torch = plan.slurm_job(replace(MEMBER, engine="torch", servers=0), ("--mem=0",)).command
    assert torch[2] == "3" and "--cpu-bind=none" in torch and "--cpus-per-task=8" in torch
    for job in (mpi, slurm):
        member = members_of(job)
        assert not job.has_control and not member.has_control and member.role is None


def test_python_means_the_launchers_interpreter():
    assert plan.command_of(["python", "-m", "x"]) == (sys.executable, "-m", "x")
    assert plan.command_of(["./train.sh"]) == ("./train.sh",)
