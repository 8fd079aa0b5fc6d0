import base64

import cv2
import numpy as np
import pytest
from conftest import draw_shape, write_records

from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.viz.thumbnails import NO_FILE, data_uri, small, thumbnails, write_thumbnails


def encoded(image):
    return cv2.imencode(".png", image)[1].tobytes()


def pixels(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture
def shards(tmp_path):
    """Two shards of images of one colour each, the keys descending; record 3 is damaged."""
    paths = []
    for shard in range(2):
        payloads = []
        for number in range(3 * shard, 3 * shard + 3):
            image = np.full((90, 160, 3), 40 * number, np.uint8)
            data = b"no image" if number == 3 else encoded(image)
            payloads.append(pack_header(0.0, number) + data)
        keys = [50 - number for number in range(3 * shard, 3 * shard + 3)]
        paths.append(write_records(tmp_path / f"{shard}.rec", payloads, keys))
    with Shards(paths) as opened:
        yield opened


def test_images_are_found_by_key(shards):
    assert shards.keys.tolist() == [50, 49, 48, 47, 46, 45]
    uris = thumbnails(shards, np.array([45, 50, 99, 47, 46]), [0, 1, 2, 3, 4])
    # There is no key 99, and the record of 47 is no image.
    assert sorted(uris) == [0, 1, 4]
    for position, value in ((0, 200), (1, 0), (4, 160)):
        image = pixels(uris[position])
        assert image.shape == (81, 144, 3) and abs(image.mean() - value) < 3


def test_shards_that_share_keys_are_read_by_position(tmp_path):
    paths = []
    for shard in range(2):
        grey = [np.full((9, 9, 3), 100 * shard + 20 * n, np.uint8) for n in range(2)]
        payloads = [pack_header(0.0, n) + encoded(image) for n, image in enumerate(grey)]
        paths.append(write_records(tmp_path / f"{shard}.rec", payloads))
    with Shards(paths) as shards:
        uris = thumbnails(shards, shards.keys, range(4))
        values = [round(float(pixels(uris[n]).mean())) for n in range(4)]
    assert np.abs(np.array(values) - [0, 20, 100, 120]).max() <= 2


def test_files_are_named_by_record_and_kept(shards, tmp_path):
    keys, folder = np.array([45, 50, 99, 47, 46]), tmp_path / "some" / "folder"
    chosen = np.array([True, True, True, True, False])
    written = write_thumbnails(shards, keys, chosen, folder, 2)
    assert written.folder == folder
    # There is no key 99, the record of 47 is no image, and 46 is not chosen.
    assert written.files.tolist() == [5, 0, NO_FILE, NO_FILE, NO_FILE]
    found = sorted(folder.rglob("*.*"))
    assert [one.name for one in found] == ["00000000.jpg", "00000005.jpg"]
    image = cv2.imread(str(folder / "00000" / "00000005.jpg"))
    assert image.shape == (81, 144, 3) and abs(image.mean() - 200) < 3
    found[0].write_bytes(b"kept")
    again = write_thumbnails(shards, keys, np.ones(5, bool), folder, 2)
    assert again.files.tolist() == [5, 0, NO_FILE, NO_FILE, 4]
    assert found[0].read_bytes() == b"kept"


def test_a_folder_that_cannot_be_written_is_an_error(shards, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        write_thumbnails(shards, shards.keys, np.ones(6, bool), tmp_path / "file", 1)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((288, 144), (144, 72)), ((100, 144), (100, 144)), ((28, 28), (140, 140)),
     ((2000, 3), (144, 1)), ((1, 1), (144, 144)), ((80, 90), (80, 90))],
)  # fmt: skip
def test_sizes_of_thumbnails(size, wanted):
    assert small(np.zeros((*size, 3), np.uint8)).shape[:2] == wanted


def test_a_thumbnail_shows_its_image():
    shape = draw_shape("square", 0, 40)
    shown = pixels(data_uri(memoryview(encoded(shape)))).astype(int)
    assert np.abs(shown[1::3, 1::3] - shape).mean() < 12
