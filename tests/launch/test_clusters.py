"""Launchers with the real programs: sshd, Open MPI and Slurm, each on 127.0.0.1 alone."""

import contextlib
import getpass
import os
import re
import shutil
import signal

import pytest
from conftest import needs_mxnet
from helpers.clusters import call, daemon, listens, need, slurm, wait_for
from helpers.fit_runs import words_of
from helpers.launched import WORKER, Launched

from imagenet_trainer.launch.addresses import LOOPBACK, free_port

pytestmark = needs_mxnet


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


@contextlib.contextmanager
def slurm_cluster(folder):
    with slurm(folder) as env:
        granted = call("salloc", "--no-shell", "--overcommit", "--ntasks=3", env=env)
        job = re.search(r"allocation (\d+)", granted).group(1)
        nodes = call("squeue", "--noheader", "--format=%N", env=env).strip()
        try:
            yield (), {**env, "SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": nodes}
        finally:
            call("scancel", job, env=env)


CLUSTERS = {"ssh": ssh_cluster, "mpi": mpi_cluster, "slurm": slurm_cluster}


@pytest.fixture(
    params=["ssh", pytest.param("mpi", marks=pytest.mark.slow), "slurm"], scope="module"
)
def cluster(request, tmp_path_factory):
    """The launcher's name, and its flags and environment."""
    with CLUSTERS[request.param](tmp_path_factory.mktemp(request.param)) as (flags, env):
        yield request.param, flags, env


def test_a_killed_worker_restarts_all_and_ctrl_c_lets_them_save(cluster, tmp_path):
    name, flags, env = cluster
    launched = Launched(("-n", 2, "-s", 1, *flags), (*WORKER, tmp_path / "end"), env=env)
    launched.until("connected to 2 workers", times=2)
    assert f"2 workers and 1 server by {name}, " in launched.output
    workers = launched.members(f"{WORKER[1]} {tmp_path}")
    workers.remove(launched.process.pid)
    os.kill(workers[-1], signal.SIGKILL)
    launched.until("launch: restart 1 of 3")
    launched.until(r"^\[worker [01]\b.*connected to 2 workers", times=2)
    launched.output = ""  # srun had the other worker save too
    launched.process.send_signal(signal.SIGINT)
    assert launched.end() == 130, launched.output
    assert len(re.findall(r"^\[worker [01]\b.*saved", launched.output, re.M)) == 2
    assert "restart" not in launched.output and launched.nobody_is_left()


def test_the_exit_code_is_that_of_the_worker_that_failed(cluster):
    # The others end by signals, after which none would be started again.
    _, flags, env = cluster
    code = "import os, sys, time; time.sleep(60 * (os.environ['IMAGENET_TRAINER_RANK'] == '0'));"
    words = ("python", "-c", f"{code} sys.exit(7)")
    launched = Launched(("-n", 2, "-s", 1, "--max-restarts", 0, *flags), words, env=env)
    assert launched.end() == 7, launched.output
    assert "no restart is left" in launched.output and launched.nobody_is_left()


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
