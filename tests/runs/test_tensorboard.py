import builtins
import math
import sys

import pytest
from conftest import run
from helpers.tensorboard import points

from imagenet_trainer.runs.tensorboard import Scalars


@pytest.fixture
def told():
    return []


def test_points_by_tag_and_update(tmp_path, told):
    scalars = Scalars(tmp_path / "tensorboard", 0, told.append)
    scalars.write(20, {"train/loss": 1.5, "train/rank1": math.nan})
    # Readable while the run goes on.
    assert points(tmp_path / "tensorboard") == [("train/loss", 20, 1.5)]
    scalars.write(40, {"train/loss": math.inf, "train/rank1": 0.25})
    scalars.close()
    assert points(tmp_path / "tensorboard")[1:] == [
        ("train/loss", 40, math.inf), ("train/rank1", 40, 0.25),
    ]  # fmt: skip
    assert not told


def test_a_resumed_run_shows_no_point_twice(tmp_path, told):
    for first, steps in ((0, (20, 40, 60)), (40, (60, 80))):
        scalars = Scalars(tmp_path, first, told.append)
        for step in steps:
            scalars.write(step, {"a": first + step})
        scalars.close()
    assert points(tmp_path) == [("a", 20, 20), ("a", 40, 40), ("a", 60, 100), ("a", 80, 120)]


def test_a_rollback_inside_a_process(tmp_path, told):
    scalars = Scalars(tmp_path, 0, told.append)
    for step in (20, 40):
        scalars.write(step, {"a": 1})
    scalars.take_back(20)
    scalars.write(40, {"a": 2})
    scalars.close()
    assert points(tmp_path) == [("a", 20, 1), ("a", 40, 2)]


def test_a_full_disk_is_told_once(tmp_path, told):
    scalars = Scalars(tmp_path, 0, told.append)

    def full(event):
        raise OSError(28, "No space left on device")

    scalars._writer.write_event = full
    for step in (1, 2):
        scalars.write(step, {"a": 1})
    scalars.take_back(1)
    scalars.close()
    assert len(told) == 1 and "No space left on device; TensorBoard gets no more" in told[0]


def test_a_folder_that_cannot_be_made(tmp_path, told):
    (tmp_path / "file").write_text("")
    scalars = Scalars(tmp_path / "file" / "tensorboard", 0, told.append)
    scalars.write(1, {"a": 1})
    assert len(told) == 1 and "TensorBoard gets no more" in told[0]


def test_without_the_library(tmp_path, told, monkeypatch):
    real = builtins.__import__

    def none_there(name, *more):
        if name.startswith("tensorboardX"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *more)

    for name in [name for name in sys.modules if name.startswith("tensorboardX")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(builtins, "__import__", none_there)
    scalars = Scalars(tmp_path, 0, told.append)
    scalars.write(1, {"a": 1})
    scalars.close()
    assert len(told) == 1 and "pip install tensorboardX" in told[0]
    assert not list(tmp_path.iterdir())


def test_other_workers_and_tensorboard_0_write_nothing(tmp_path, told):
    scalars = Scalars(None, 0, told.append)
    scalars.write(1, {"a": 1})
    scalars.take_back(0)
    scalars.close()
    assert not list(tmp_path.iterdir()) and not told


def test_it_does_not_bring_pytorch_with_it(tmp_path):
    program = (
        "import sys; from imagenet_trainer.runs.tensorboard import Scalars;"
        f"s = Scalars(__import__('pathlib').Path({str(tmp_path)!r}), 0, print);"
        "s.write(1, {'a': 1}); s.close(); assert 'torch' not in sys.modules"
    )
    assert run("-c", program).stdout == ""
    assert points(tmp_path) == [("a", 1, 1)]
