"""The files of docs/cluster/: Kubernetes' schemas, its pods as processes here, and a real Slurm."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, needs_torch, words_of_fit
from helpers.clusters import call, slurm
from helpers.fit_runs import assert_same, parameters
from helpers.namespaces import ip, namespaces  # noqa: F401

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings, flags, layers
from imagenet_trainer.launch.main import main as launch
from imagenet_trainer.launch.main import split_command

FILES = ROOT / "docs" / "cluster"
KUBERNETES = sorted(FILES.glob("*.yaml"))


def documents(name="kubernetes.yaml"):
    with open(FILES / name) as file:
        return {one["kind"]: one for one in yaml.safe_load_all(file)}


def container_of(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container


# --- Kubernetes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.37"])
@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_every_document_has_kubernetes_schema(path, version):
    validate = pytest.importorskip("kubernetes_validate").validate
    for document in documents(path.name).values():
        assert validate(document, version, strict=True) == version  # unknown fields are refused


def test_the_parts_of_the_job_agree():
    found = documents()
    job, service, claim = (found[k] for k in ("Job", "Service", "PersistentVolumeClaim"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    container, name = container_of(job), job["metadata"]["name"]
    flags = dict(word.split("=", 1) for word in container["args"] if word.startswith("--"))
    machines, gpus = spec["completions"], container["resources"]["limits"]["nvidia.com/gpu"]
    assert spec["parallelism"] == machines == int(flags["--nodes"])
    assert int(flags["--num-workers"]) == machines * gpus
    assert len(flags["--gpus"].split(",")) == gpus
    assert flags["--host-address"] == f"{name}-0.{pod['subdomain']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    rules = spec["podFailurePolicy"]["rules"]
    assert all(r["onExitCodes"]["containerName"] == container["name"]
               for r in rules if "onExitCodes" in r)  # fmt: skip
    volumes = {one["name"]: one for one in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    claimed = volumes["imagenet"]["persistentVolumeClaim"]["claimName"]
    assert claimed == claim["metadata"]["name"]
    for path in ("--data-train", "--data-val", "--model-prefix"):
        assert any(flags[path].startswith(m["mountPath"]) for m in container["volumeMounts"])


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.stem)
def test_fit_accepts_the_flags_of_the_pods(path):
    args = container_of(documents(path.name)["Job"])["args"]
    if args[0] == "imagenet-launch":
        own, args = split_command(args[1:])
        assert own and args[:2] == ["python", "-m"]
        args = args[2:]
    assert args[0] in ("imagenet-fit", "imagenet_trainer.fit")
    settings = flags.parse(FitSettings, layers.expanded(args[1:]), "fit", "")
    assert settings.network == "resnet"


def test_the_launcher_accepts_the_flags_of_the_pods(monkeypatch, capsys):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    assert launch(["--dry-run", *container_of(documents()["Job"])["args"][1:]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"worker {n}" for n in range(8, 16)]


# Without BatchNorm and dropout two workers give the parameters of one.
NETWORK = """
from imagenet_trainer.graph import sym

def get_symbol(num_classes, image_shape):
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=8, name="conv")
    x = sym.Activation(x, act_type="relu", name="relu")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=num_classes, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")
"""


def pod_command(prefix, words):
    """The command of the Job's pods with these flags of fit instead of its own."""
    args = container_of(documents()["Job"])["args"]
    own, command = split_command(args[1:])
    own = ["--num-workers=2" if word.startswith("--num-workers") else word for word in own]
    program = [sys.executable, "-m", "imagenet_trainer.launch.main", *own, *command[:3]]
    return [*program, *words, "--model-prefix", str(prefix)]


@pytest.fixture
def pods(namespaces, tmp_path):
    """A function that starts the pod with an index, in a network namespace of its own.

    The name of the first pod is unknown until that one starts, as in a cluster.
    """
    started, hosts = [], []
    for name in namespaces[1:]:
        folder = Path("/etc/netns") / name  # whose files `ip netns exec` mounts over those of /etc
        folder.mkdir(parents=True)
        hosts.append(folder / "hosts")
        hosts[-1].write_text("127.0.0.1 localhost\n")

    def start(index, command):
        if index == 0:
            for path in hosts:
                path.write_text("127.0.0.1 localhost\n10.77.0.2 imagenet-0.imagenet\n")
        env = {**os.environ, "JOB_COMPLETION_INDEX": str(index), "PYTHONPATH": str(ROOT)}
        within = ["ip", "netns", "exec", namespaces[1 + index]]
        with open(tmp_path / f"pod-{index}.log", "a") as log:
            started.append(subprocess.Popen([*within, *command], env=env, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    for path in hosts:
        path.unlink()
        path.parent.rmdir()


def ends(process, log):
    """The exit code of a pod."""
    try:
        return process.wait(timeout=300)
    except subprocess.TimeoutExpired:
        raise AssertionError(log.read_text()) from None


@pytest.mark.slow
@needs_torch
def test_two_pods_train_as_one_process(pods, packed, tmp_path):
    (tmp_path / "small.py").write_text(NETWORK)
    words = ["--network", str(tmp_path / "small.py"), *words_of_fit(packed)[4:]]
    words += ["--rgb-std", "58,57,57", "--lr", "0.001"]
    command = pod_command(tmp_path / "two" / "model", words)
    second = pods(1, command)
    time.sleep(1)  # it waits for the name
    first = pods(0, command)
    for index, pod in enumerate((first, second)):
        log = tmp_path / f"pod-{index}.log"
        assert ends(pod, log) == 0, log.read_text()
        assert f"launch: machine {index} of 2: workers {index} to {index} of 2" in log.read_text()
    words += ["--engine", "torch", "--model-prefix", str(tmp_path / "one" / "model")]
    assert fit.main(words) == 0
    ours, theirs = (parameters(tmp_path / name / "model", 2) for name in ("two", "one"))
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)


def process_of(text, environment):
    """The id of the process with this text in its command line, and this in its environment."""
    for _ in range(3000):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found = environment.encode() in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if text in line and found and "imagenet_trainer.launch" not in line:
                return int(folder.name)
        time.sleep(0.01)
    raise AssertionError(f"no process: {text}")


def wait_until(ready, log):
    for _ in range(6000):
        if ready():
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text() if log.exists() else f"no {log}")


@pytest.mark.slow
@needs_torch
def test_a_killed_worker_and_a_replaced_pod_change_nothing(pods, namespaces, packed, tmp_path):
    straight, prefix = tmp_path / "straight" / "model", tmp_path / "killed" / "model"
    words = [*words_of_fit(packed), "--num-epochs", "6", "--checkpoint-minutes", "1e-9"]
    for pod in [pods(index, pod_command(straight, words)) for index in (0, 1)]:
        assert ends(pod, tmp_path / "pod-0.log") == 0
    command = pod_command(prefix, words)
    first, second = (pods(index, command) for index in (0, 1))
    log = tmp_path / "pod-0.log"
    wait_until(Path(f"{prefix}-0001.params").exists, log)
    os.kill(process_of(str(prefix), "RANK=1"), signal.SIGKILL)  # its launcher starts it again
    wait_until(Path(f"{prefix}-0003.params").exists, log)
    for number in ip("netns", "pids", namespaces[2]).split():  # the pod is lost
        os.kill(int(number), signal.SIGKILL)
    second = pods(1, command)
    assert ends(first, log) == 0 == ends(second, log), log.read_text()
    assert log.read_text().count("from the last checkpoint") >= 2
    assert_same(parameters(prefix, 6), parameters(straight, 6))


# --- Slurm ----------------------------------------------------------------------------------------


@needs_torch
def test_the_batch_file_continues_after_it_was_stopped(packed, tmp_path, monkeypatch):
    import torch

    environment = Path(sys.prefix)
    if not (environment / "bin" / "activate").exists():
        pytest.skip("the interpreter is in no environment")
    (tmp_path / "slurm").mkdir()
    prefix, log = tmp_path / "run" / "model", tmp_path / "job.log"
    words = [*words_of_fit(packed), "--num-epochs", "6"]
    here = ("--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=1", "--gres=none")
    with slurm(tmp_path / "slurm", credentials=10) as env:
        env = {**env, "VENV": sys.prefix, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        monkeypatch.chdir(ROOT)
        job = call("sbatch", "--parsable", *here, f"--output={log}", FILES / "train.sbatch",
                   *words, "--model-prefix", prefix, env=env).strip()  # fmt: skip
        wait_until(Path(f"{prefix}-0001.params").exists, log)
        # It cannot end before the signal has arrived.
        worker = process_of(str(prefix), "RANK=0")
        os.kill(worker, signal.SIGSTOP)
        # As --signal=B:TERM@120 does before the time limit.
        call("scancel", "--signal=TERM", "--batch", job, env=env)
        wait_until(lambda: "SIGTERM: workers save and exit" in log.read_text(), log)
        os.kill(worker, signal.SIGCONT)
        state = ["squeue", "--noheader", "--format=%T", "--jobs", job]
        wait_until(lambda: "PENDING" in call(*state, env=env), log)
        text = log.read_text()
        assert "launch: 1 worker by slurm, worker 0 at 127.0.0.1:" in text
        assert f"launch: --requeue: job {job} is in the queue again" in text
        assert not Path(f"{prefix}-0006.params").exists()
        wait_until(Path(f"{prefix}-0006.params").exists, log)
        wait_until(lambda: not call(*state, env=env).strip(), log)
    assert re.search(r"continuing .* after epoch \d, update \d+", log.read_text())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        straight = tmp_path / "straight" / "model"
        assert fit.main([*words, "--engine", "torch", "--model-prefix", str(straight)]) == 0
    finally:
        torch.set_num_threads(threads)
    assert_same(parameters(prefix, 6), parameters(straight, 6))


def test_the_batch_file_is_a_shell_script():
    subprocess.run(["bash", "-n", FILES / "train.sbatch"], check=True)
    (default,) = re.findall(r"^    set -- (.*?)^fi$", (FILES / "train.sbatch").read_text(),
                            re.M | re.S)  # fmt: skip
    words = default.replace("\\\n", " ").split()
    assert fit.main([*words, "--show-config"]) == 0
