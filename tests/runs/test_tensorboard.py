import io
import math
import os

import pytest
from helpers.tensorboard import points
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.tensorboard import ScalarWriter, write_images


@pytest.fixture
def warnings():
    return []


def test_points_by_tag_and_update(tmp_path, warnings):
    writer = ScalarWriter(tmp_path / "tensorboard", 0, warnings.append)
    writer.write(20, {"train/loss": 1.5, "train/rank1": math.nan})
    # Readable during the run.
    assert points(tmp_path / "tensorboard") == [("train/loss", 20, 1.5)]
    writer.write(40_000_000, {"train/loss": math.inf, "train/rank1": 0.25, "tensors/a:b é": -1})
    writer.close()
    assert points(tmp_path / "tensorboard")[1:] == [
        ("train/loss", 40_000_000, math.inf), ("train/rank1", 40_000_000, 0.25),
        ("tensors/a_b_é", 40_000_000, -1),
    ]  # fmt: skip
    assert not warnings


def test_a_resumed_run_shows_no_point_twice(tmp_path, warnings):
    for first, steps in ((0, (20, 40, 60)), (40, (60, 80))):
        writer = ScalarWriter(tmp_path, first, warnings.append)
        for step in steps:
            writer.write(step, {"a": first + step})
        writer.close()
    assert points(tmp_path) == [("a", 20, 20), ("a", 40, 40), ("a", 60, 100), ("a", 80, 120)]


def test_a_rollback_in_the_same_process(tmp_path, warnings):
    writer = ScalarWriter(tmp_path, 0, warnings.append)
    for step in (20, 40):
        writer.write(step, {"a": 1})
    writer.hide_after(20)
    writer.write(40, {"a": 2})
    writer.close()
    assert points(tmp_path) == [("a", 20, 1), ("a", 40, 2)]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_reported_once(tmp_path, warnings):
    writer = ScalarWriter(tmp_path, 0, warnings.append)
    writer._file.close()
    writer._file = open("/dev/full", "wb")  # noqa: SIM115
    for step in (1, 2):
        writer.write(step, {"a": 1})
    writer.hide_after(1)
    writer.close()
    assert len(warnings) == 1 and str(tmp_path) in warnings[0]
    assert "No space left on device" in warnings[0] and "TensorBoard" in warnings[0]


def test_a_folder_that_cannot_be_created(tmp_path, warnings):
    (tmp_path / "file").write_text("")
    writer = ScalarWriter(tmp_path / "file" / "tensorboard", 0, warnings.append)
    writer.write(1, {"a": 1})
    assert len(warnings) == 1 and "TensorBoard" in warnings[0]


def test_other_workers_and_tensorboard_0_write_nothing(tmp_path, warnings):
    writer = ScalarWriter(None, 0, warnings.append)
    writer.write(1, {"a": 1})
    writer.hide_after(0)
    writer.close()
    assert not list(tmp_path.iterdir()) and not warnings


def png_of(side):
    buffer = io.BytesIO()
    Image.new("RGB", (side, 2 * side), "red").save(buffer, "PNG")
    return buffer.getvalue()


def read_images(folder, tag):
    """(step, width, height, file) of each, as TensorBoard's own reader finds them."""
    reader = EventAccumulator(str(folder), {"images": 0})
    reader.Reload()
    return [
        (one.step, one.width, one.height, one.encoded_image_string) for one in reader.Images(tag)
    ]


def test_images_beside_scalars(tmp_path, warnings):
    writer = ScalarWriter(tmp_path, 0, warnings.append)
    for update in (10, 20, 30):
        writer.write(update, {"loss": 1})
        writer.write_image(update, "validation/confusion", lambda: png_of(3))
    writer.hide_after(20)
    writer.close()
    shown = read_images(tmp_path, "validation/confusion")
    assert shown == [(10, 3, 6, png_of(3)), (20, 3, 6, png_of(3))] and not warnings
    nothing = ScalarWriter(None, 0, warnings.append)
    nothing.write_image(1, "a", lambda: pytest.fail("draws for nobody"))


def test_images_replace_those_of_an_earlier_call(tmp_path):
    write_images(tmp_path / "a", "confusion", {1: png_of(2), 2: png_of(3)})
    write_images(tmp_path / "a", "confusion", {2: png_of(4)})
    assert read_images(tmp_path / "a", "confusion") == [(2, 4, 8, png_of(4))]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        write_images(tmp_path / "file", "confusion", {1: png_of(2)})
