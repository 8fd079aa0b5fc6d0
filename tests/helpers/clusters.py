"""Daemons of clusters on 127.0.0.1, for tests with the real programs."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time

import pytest

from imagenet_trainer.launch.addresses import LOOPBACK, free_port


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            pytest.skip(f"{program} is not installed")


def call(*words, env=None):
    """Run a program to its end; return what it printed. Skip the test if the program fails."""
    result = subprocess.run(
        list(map(str, words)), env=env, capture_output=True, text=True, timeout=60
    )
    if result.returncode:
        pytest.skip(f"{words[0]} does not run here: {result.stderr.strip()}")
    return result.stdout + result.stderr


@contextlib.contextmanager
def daemon(*words, env=None, log):
    """Run a program until the block ends."""
    with open(log, "wb") as file:
        process = subprocess.Popen(list(map(str, words)), env=env, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()  # its state is temporary
        process.wait()


def wait_for(ready, process, log, seconds=20):
    """Wait until `ready()` holds; skip the test if the program ends before or takes too long."""
    for _ in range(seconds * 20):
        if ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    pytest.skip(f"{process.args[0]} does not start here: {log.read_text(errors='replace')[-500:]}")


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
        return True
    return False


_SLURM = """\
ClusterName=test
SlurmctldHost={name}({address})
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={credentials}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
NodeName={name} NodeAddr={address} CPUs={cpus}
KillWait=2
SchedulerParameters=sched_interval=1
PartitionName=test Nodes={name} Default=YES State=UP
"""


@contextlib.contextmanager
def slurm(folder, credentials=120):
    """Munge and Slurm with one node, this machine; yields the environment of their commands.

    A job that was queued again begins after its `credentials` (seconds) have expired.
    """
    need("munged", "slurmctld", "slurmd", "srun", "salloc", "sbatch", "scontrol", "sinfo")
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    (folder / "slurm.conf").write_text(
        _SLURM.format(
            name=socket.gethostname().partition(".")[0], address=LOOPBACK, folder=folder,
            port=free_port(LOOPBACK), node_port=free_port(LOOPBACK), user=getpass.getuser(),
            cpus=os.cpu_count(), credentials=credentials,
        )
    )  # fmt: skip
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    env = {**outside, "SLURM_CONF": str(folder / "slurm.conf")}
    env["PATH"] = f"{env['PATH']}:/usr/sbin:/sbin"
    state = [f"--{name}={folder}/munge/{name}" for name in ("pid-file", "log-file", "seed-file")]
    with contextlib.ExitStack() as stack:
        for program, *words in (
            (
                "munged",
                "-F",
                "--force",
                f"--key-file={folder}/key",
                f"--socket={folder}/munge.socket",
                *state,
            ),
            ("slurmctld", "-D", "-c"),
            ("slurmd", "-D"),
        ):
            log = folder / f"{program}.log"
            path = shutil.which(program, path=env["PATH"])
            process = stack.enter_context(daemon(path, *words, env=env, log=log))
            if program == "munged":
                wait_for((folder / "munge.socket").exists, process, log)
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        wait_for(lambda: "1" in call(*idle, env=env), process, log)
        yield env
