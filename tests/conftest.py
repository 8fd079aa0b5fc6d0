"""What many tests share: a small packed set, and ways to run the commands as a user does."""

import gc
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError

gc.disable()  # until pytest_collection_finish
# The networks of the tests are tiny: with two threads that wait for each other after every operator
# they take up to ten times longer on a busy machine. Read when MXNet is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# PyTorch asks for the names of its peers: 5 s a time where no name server answers.
os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
# The duration of an example depends on the machine, and every run must use the same examples.
settings.register_profile(
    "any machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
# Shells ignore SIGINT in background jobs, and processes inherit that; many tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
ROOT = Path(__file__).parents[1]
# What the developer measured with `doctor --measure` does not decide the engine of a test.
os.environ["XDG_CACHE_HOME"] = str(ROOT / ".pytest_cache" / "user")
# For tests of MXNet's engine, and for those that take MXNet as the reference.
HAS_MXNET = importlib.util.find_spec("mxnet") is not None
needs_mxnet = pytest.mark.skipif(not HAS_MXNET, reason="MXNet is not installed")
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)
ENGINES = [pytest.param("mxnet", marks=needs_mxnet), pytest.param("torch", marks=needs_torch)]
# MXNet has several devices in one process.
on_all_devices = pytest.mark.parametrize(
    ("engine", "cpus"),
    [
        pytest.param("mxnet", 1, marks=needs_mxnet), pytest.param("mxnet", 2, marks=needs_mxnet),
        ("torch", 1),
    ],
)  # fmt: skip
# These open MXNet when they are imported.
collect_ignore = (
    []
    if HAS_MXNET
    else [
        *(f"engines/mxnet/test_{name}.py" for name in (
            "accumulation", "async_updates", "average", "compression", "engine", "fused_relu",
            "optimizers", "precision", "statistics",
        )),
        "engines/test_loss_scale.py", "engines/test_memory.py", "engines/pytorch/test_graph.py",
        "symbols/test_reference_networks.py", "symbols/test_symbols.py",
        "train/test_initializers.py",
    ]
)  # fmt: skip


def _skip_without_mxnet(outcome):
    """Skip a test whose own code uses MXNet, where it is not installed.

    If the package uses it, the test fails: there MXNet is needed in engines/mxnet/ only.
    """
    if HAS_MXNET or outcome.excinfo is None:
        return
    _, error, trace = outcome.excinfo
    if isinstance(error, InputError) and str(error).startswith("MXNet is not installed"):
        files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
        users = [file for file in files if not file.endswith("mxnet_import.py")]
        if Path(users[-1]).is_relative_to(ROOT / "tests"):
            outcome.force_exception(pytest.skip.Exception("MXNet is not installed"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup():
    _skip_without_mxnet((yield))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call():
    _skip_without_mxnet((yield))


CLASSES = ("circle", "cross", "square")
# Started first, as otherwise one process works on the last of them while the others have ended.
LONGEST_FILES = (
    "test_launch.py", "test_workers.py", "test_fit.py", "test_networks.py", "test_clusters.py",
    "test_tools.py", "test_compare.py", "test_tutorial.py", "test_torch_networks.py",
    "test_recovery.py", "test_transfer.py", "test_fit_methods.py", "test_cluster_files.py",
    "test_commands.py", "test_doctor.py", "test_setup_script.py", "test_report_page.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    def rank(item):
        name = item.path.name
        return LONGEST_FILES.index(name) if name in LONGEST_FILES else len(LONGEST_FILES)

    items.sort(key=rank)


def pytest_collection_finish():
    """The garbage collector skips what was imported: a million objects, most of its time."""
    gc.collect()
    gc.freeze()
    gc.enable()


def draw_shape(kind: str, seed: int, side: int = 20) -> np.ndarray:
    """A coloured shape on a noisy ground, uint8 (side, side, 3); easy to classify."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 90, (side, side, 3), np.uint8)
    colour = tuple(int(value) for value in random.integers(150, 255, 3))
    centre = tuple(int(value) for value in random.integers(side // 2 - 2, side // 2 + 3, 2))
    size = int(random.integers(side // 4, side // 3 + 1))
    if kind == "circle":
        cv2.circle(image, centre, size, colour, -1)
    elif kind == "cross":
        cv2.drawMarker(image, centre, colour, cv2.MARKER_CROSS, 2 * size, 2)
    else:
        low, high = (centre[0] - size, centre[1] - size), (centre[0] + size, centre[1] + size)
        cv2.rectangle(image, low, high, colour, 2)
    return image


def write_images(folder: Path, per_class: int, seed: int = 0) -> None:
    for number, kind in enumerate(CLASSES):
        (folder / kind).mkdir(parents=True)
        for index in range(per_class):
            image = draw_shape(kind, seed + 1000 * number + index)
            cv2.imwrite(str(folder / kind / f"{index:03d}.png"), image)


def write_pack(folder, classes, name):
    """Pack a few images of three classes with these names."""
    from imagenet_trainer.packing import im2rec

    write_images(folder / "images", 2)
    for old, new in zip(("circle", "cross", "square"), classes):
        (folder / "images" / old).rename(folder / "images" / new)
    words = [str(folder / name), str(folder / "images")]
    assert im2rec.main(["--list", "--recursive", *words]) == 0
    assert im2rec.main([*words, "--encoding", ".png", "--classes-from", "none"]) == 0
    return str(folder / f"{name}.rec")


def write_records(path, payloads, keys=None):
    """Write payloads as a shard with its index; return its path."""
    with RecordWriter(path, path.with_suffix(".idx")) as writer:
        for key, payload in zip(keys or itertools.count(), payloads):
            writer.write(key, payload)
    return path


def payloads_of(count, start=0):
    """Payloads of labelled records, no two of the same length."""
    return [pack_header(float(n), n) + bytes([n]) * (20 + n) for n in range(start, start + count)]


def run(*words, cwd=ROOT, check=0, env=None, **more):
    """Run `python words...` in a separate process, expecting an exit code (None: any)."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
        capture_output=True,
        text=True,
        **more,
    )
    assert check is None or result.returncode == check, result.stdout + result.stderr
    return result


def one_line_error(result, *words: str) -> str:
    """The message of a command that refused: one line, exit code 2, no traceback."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if ": error: " in line]
    assert len(lines) == 1 and result.stderr.rstrip().endswith(lines[0]), result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def message_of(function, *arguments, **more):
    """The message of a function's InputError, which is one line."""
    with pytest.raises(InputError) as caught:
        function(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def one_line_failure(main, name, capsys):
    """Call a command that must exit with 2 and one line; return it without the name."""

    def call(*words):
        capsys.readouterr()
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"{name}: error: ") and error.count("\n") == 1
        return error[len(f"{name}: error: ") : -1]

    return call


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """train.rec (60 images, 3 classes) and val.rec (15), packed by the real tool."""
    from imagenet_trainer.packing import im2rec

    folder = tmp_path_factory.mktemp("packed")
    for name, per_class, seed in (("train", 20, 0), ("val", 5, 500)):
        images = folder / "pictures" / name
        write_images(images, per_class, seed)
        prefix = str(folder / name)
        assert im2rec.main(["--list", "--recursive", prefix, str(images)]) == 0
        assert im2rec.main([prefix, str(images), "--encoding", ".png"]) == 0
    return folder


@pytest.fixture(scope="session")
def window(tmp_path_factory):
    """A window of a browser, 1200 pixels wide."""
    from helpers.browser import MISSING, Browser

    if MISSING:
        pytest.skip(MISSING)
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def without_curves():
    """Trainings write an empty curves.png: they take half the time. The function that draws."""
    from imagenet_trainer.viz import curves

    draw = curves.draw
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw", lambda rows, title, rank5=True: b"")
        yield draw


@pytest.fixture
def fit_words(packed):
    """The flags of a training that takes a second: ResNet-8 on 16 pixels."""
    return words_of_fit(packed)


def words_of_fit(packed):
    return [
        "--network", "resnet", "--num-layers", "8", "--image-shape", "3,16,16",
        "--data-train", str(packed / "train.rec"), "--data-val", str(packed / "val.rec"),
        "--batch-size", "8", "--num-epochs", "2", "--lr", "0.05",
        "--random-resized-crop", "0", "--random-crop", "1",
    ]  # fmt: skip
