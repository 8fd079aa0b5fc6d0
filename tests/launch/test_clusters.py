"""Launchers with the real programs: sshd, Open MPI and Slurm, each on 127.0.0.1 alone."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import needs_mxnet
from helpers.fit_runs import words_of
from helpers.launched import WORKER, Launched

from imagenet_trainer.launch.addresses import LOOPBACK, free_port

pytestmark = needs_mxnet


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


# --- the clusters: flags and environment of the launcher ------------------------------------------


@contextlib.contextmanager
def ssh_cluster(folder):
    need("sshd", "ssh", "ssh-keygen")
    for key in ("host", "user"):
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    port, log = free_port(LOOPBACK), folder / "sshd.log"
    (folder / "sshd_config").write_text(
        f"ListenAddress {LOOPBACK}\nPort {port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\n"
    )
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    (folder / "hosts").write_text(f"{getpass.getuser()}@{LOOPBACK}:{port} slots=2\n")
    ssh = (
        f"ssh -F none -i {folder}/user -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR "
        "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    )
    with daemon(sshd, "-D", "-e", "-f", folder / "sshd_config", log=log) as process:
        wait_for(lambda: listens(port), process, log)
        yield ("-H", folder / "hosts", "--ssh", ssh), {}


@contextlib.contextmanager
def mpi_cluster(folder):
    need("mpirun")
    options = ["--oversubscribe", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]
    if "Open MPI" not in call("mpirun", "--version"):
        pytest.skip("mpirun is not that of Open MPI")
    call("mpirun", *options, "-n", "1", "true")
    yield ("--launcher", "mpi", "--options", " ".join(options)), {}


_SLURM = """\
ClusterName=test
SlurmctldHost={name}({address})
SlurmctldPort={port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
NodeName={name} NodeAddr={address} CPUs={cpus}
KillWait=2
PartitionName=test Nodes={name} Default=YES State=UP
"""


@contextlib.contextmanager
def slurm_cluster(folder):
    need("munged", "slurmctld", "slurmd", "srun", "salloc", "scontrol", "sinfo")
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700)
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    (folder / "slurm.conf").write_text(
        _SLURM.format(
            name=socket.gethostname().partition(".")[0], address=LOOPBACK, folder=folder,
            port=free_port(LOOPBACK), node_port=free_port(LOOPBACK), user=getpass.getuser(),
            cpus=os.cpu_count(),
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
        granted = call("salloc", "--no-shell", "--overcommit", "--ntasks=3", env=env)
        job = re.search(r"allocation (\d+)", granted).group(1)
        stack.callback(call, "scancel", job, env=env)
        nodes = call("squeue", "--noheader", "--format=%N", env=env).strip()
        yield (), {**env, "SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": nodes}


CLUSTERS = {"ssh": ssh_cluster, "mpi": mpi_cluster, "slurm": slurm_cluster}


@pytest.fixture(
    params=["ssh", pytest.param("mpi", marks=pytest.mark.slow), "slurm"], scope="module"
)
def cluster(request, tmp_path_factory):
    """The launcher's name, and its flags and environment."""
    with CLUSTERS[request.param](tmp_path_factory.mktemp(request.param)) as (flags, env):
        yield request.param, flags, env


def test_a_killed_worker_restarts_all(cluster, tmp_path):
    name, flags, env = cluster
    launched = Launched(("-n", 2, "-s", 1, *flags), (*WORKER, tmp_path / "end"), env=env)
    launched.until("connected to 2 workers", times=2)
    assert f"2 workers and 1 server by {name}, " in launched.output
    workers = launched.members(f"{WORKER[1]} {tmp_path}")
    workers.remove(launched.process.pid)
    os.kill(workers[-1], signal.SIGKILL)
    launched.until("launch: restart 1 of 3")
    launched.until(r"^\[worker [01]\b.*connected to 2 workers", times=2)
    (tmp_path / "end").touch()
    assert launched.end() == 0, launched.output
    assert launched.nobody_is_left()


def test_ctrl_c_lets_workers_save(cluster, tmp_path):
    _, flags, env = cluster
    launched = Launched(("-n", 2, "-s", 1, *flags), (*WORKER, tmp_path / "end"), env=env)
    launched.until("connected", times=2)
    launched.process.send_signal(signal.SIGINT)
    assert launched.end() == 130, launched.output
    assert len(re.findall(r"^\[worker [01]\b.*saved", launched.output, re.M)) == 2
    assert "restart" not in launched.output and launched.nobody_is_left()


@pytest.mark.slow
def test_a_signal_stops_a_training(cluster, packed, tmp_path):
    _, flags, env = cluster
    prefix = tmp_path / "run" / "model"
    command = ["python", "-m", "imagenet_trainer.fit", *words_of(packed)]
    command += ["--kv-store", "dist_sync", "--model-prefix", prefix]
    launched = Launched(("-n", 2, "-s", 1, *flags), command, env=env)
    launched.until(r"Node\[1\] Epoch.1. Batch .2-")
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end() == 143, launched.output
    stopped = re.findall(r"Stopped after update (\d+)", launched.output)
    assert len(stopped) == 2 and len(set(stopped)) == 1
    assert (prefix.parent / "model-last.npz").exists() and launched.nobody_is_left()


@pytest.mark.parametrize("cluster", ["slurm"], indirect=True)
def test_a_signal_of_slurm_lets_workers_save(cluster, tmp_path):
    _, flags, env = cluster
    launched = Launched(("-n", 2, "-s", 1, *flags), (*WORKER, tmp_path / "end"), env=env)
    launched.until("connected", times=2)
    call("scancel", "--signal=TERM", env["SLURM_JOB_ID"], env=env)  # as before preemption
    assert launched.end() == 143, launched.output
    assert launched.output.count("saved") == 2
    assert "restart" not in launched.output and launched.nobody_is_left()
