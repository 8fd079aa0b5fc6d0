"""tools/docker: what holds without building an image, and (slow) an image that runs a training."""

import configparser
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT

FOLDER = ROOT / "tools" / "docker"
ENGINES = ("mxnet", "cu117", "torch")  # extras; an image has one of them


def instructions():
    """(stage, instruction, text) of the Dockerfile, with lines joined and comments left out."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE)
    stage = ""
    for line in filter(None, re.sub(r"\\\n", " ", text).split("\n")):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stage = rest.partition(" AS ")[2]
        yield stage, name, " ".join(rest.split())


def of_the_image(name):
    """The last stage's values of an instruction; that stage has no name."""
    stages = list(instructions())
    start = max(i for i, (_, found, _) in enumerate(stages) if found == "FROM")
    return [rest for _, found, rest in stages[start:] if found == name]


def requirements(*extras):
    return subprocess.run(
        [sys.executable, FOLDER / "requirements.py", ",".join(extras)],
        cwd=ROOT, text=True, capture_output=True, check=False,
    )  # fmt: skip


def test_no_command_of_the_image_runs_as_root():
    (user,) = of_the_image("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)  # numbers, which Kubernetes can check
    names = [name for _, name, _ in instructions()]
    assert "RUN" not in names[names.index("USER") :]


def test_signals_reach_the_command():
    """A shell between them would keep SIGTERM to itself, and process 1 ignores it by default."""
    assert json.loads(of_the_image("ENTRYPOINT")[0]) == ["tini", "--"]
    assert json.loads(of_the_image("CMD")[0]) == ["python", "-m", "imagenet_trainer"]


def test_doctor_is_the_health_check():
    (check,) = of_the_image("HEALTHCHECK")
    words = json.loads(check.partition("CMD ")[2])
    commands = configparser.ConfigParser()
    commands.read(ROOT / "setup.cfg")
    assert words[-1] == "imagenet-doctor"
    assert words[-1] in commands["options.entry_points"]["console_scripts"]


def test_what_is_copied_reaches_the_builder():
    """`.dockerignore` leaves out all but some files."""
    patterns = (ROOT / ".dockerignore").read_text().splitlines()[1:]
    assert patterns[0] == "*"
    kept = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    for path in kept:
        assert (ROOT / path).exists(), path
    copied = [
        path
        for _, name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for path in shlex.split(rest)[:-1]
    ]
    assert {*copied} <= {*kept, "."}
    # What setup.py and setup.cfg read.
    assert {"setup.py", "setup.cfg", "README.md", "LICENSE", "imagenet_trainer", "symbols"} <= {
        *kept
    }
    left_out = [pattern for pattern in patterns if pattern[0] not in "!*"] + patterns[-2:]
    assert any(fnmatch.fnmatch("a/_jpeg_window.cpython-311.so", pattern) for pattern in left_out)


def test_no_registry_is_named():
    """The base is a plain name, and pip's index is the default or a mirror that is given."""
    bases = [rest for _, name, rest in instructions() if name in ("ARG", "FROM")]
    assert "BASE=debian:bookworm-slim" in bases
    named = {rest.partition(" AS ")[0] for _, name, rest in instructions() if name == "FROM"}
    stages = {stage for stage, _, _ in instructions() if stage}
    assert named <= {"$BASE", *stages}
    text = (FOLDER / "Dockerfile").read_text()
    assert not re.search(r"https?://|--(extra-)?index-url", text)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_packages_of_an_engine(engine):
    done = requirements(engine, "export")
    lines = done.stdout.splitlines()
    distribution = {"mxnet": "mxnet==", "cu117": "mxnet-cu117==", "torch": "torch>="}[engine]
    assert sum(line.startswith(distribution) for line in lines) == 1
    assert any(line.startswith("onnxruntime") for line in lines)
    assert any(line.startswith("datashader") for line in lines)  # of the package itself
    assert not any("imagenet-trainer" in line or line.startswith("#") for line in lines)


def test_extras_of_extras_and_unknown_ones():
    assert requirements("cpu").stdout == requirements("mxnet").stdout
    done = requirements("cpu", "tset")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("EXTRAS=tset: no such extra; there are mxnet, cpu, cu117")


# --- an image --------------------------------------------------------------------------------

RUNNER = next(filter(shutil.which, ("podman", "docker")), "")
BASE = "debian:bookworm-slim"
TRAINING = """
python -m imagenet_trainer.assets.demo_images images
for part in train val; do
    imagenet-im2rec --list --recursive data/$part images/$part
    imagenet-im2rec data/$part images/$part --encoding .png
done
exec imagenet-fit --network one-stage-cnn --image-shape 3,28,28 --random-resized-crop 0 \
    --random-crop 1 --pad-size 2 --num-epochs 1000
"""


def call(*words):
    """Exit code and output of the program that runs containers."""
    done = subprocess.run(
        [RUNNER, *map(str, words)], cwd=ROOT, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # Podman's own format has no health check; the cache of conftest.py is not for it.
        env={**os.environ, "BUILDAH_FORMAT": "docker", "XDG_CACHE_HOME": ""},
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture
def image():
    """The name of an image for CPUs."""
    if not RUNNER or call("image", "inspect", BASE)[0]:
        pytest.skip(f"podman or docker is not installed, or does not have {BASE}")
    index = os.environ.get("PIP_INDEX_URL")
    mirror = ["--build-arg", f"PIP_INDEX_URL={index}"] if index else []
    name = "imagenet-trainer:test"
    code, printed = call(
        "build", "--network", "host", *mirror, "-f", FOLDER / "Dockerfile", "-t", name, "."
    )
    assert code == 0, printed
    return name


@pytest.mark.slow
def test_an_image_trains_without_rights_and_stops_with_a_checkpoint(image):
    """As a user that it does not know, on a read-only file system, without a network."""
    rights = ("--read-only", "--network", "none", "--cap-drop", "all", "--user", "12345:12345")
    folders = ("--tmpfs", "/tmp", "--tmpfs", "/workspace")
    name = f"imagenet-trainer-test-{os.getpid()}"
    code, printed = call(
        "run", "-d", "--name", name, *rights, *folders, image, "sh", "-ec", TRAINING
    )
    assert code == 0, printed
    try:
        state = ("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", name)
        while "Epoch[1]" not in call("logs", name)[1]:
            assert call(*state)[1].startswith("true"), call("logs", name)[1]
            time.sleep(1)
        code, printed = call("exec", name, "imagenet-doctor")
        assert code == 0 and "engine: MXNet on the CPU" in printed
        call("stop", "-t", "600", name)
        assert call(*state)[1].split() == ["false", "143"], call("logs", name)[1]
        assert "SIGTERM" in call("logs", name)[1].splitlines()[-1]
    finally:
        call("rm", "-f", name)
