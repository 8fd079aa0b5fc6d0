import os
import threading

import cv2
import numpy as np
import pytest
from conftest import draw_shape
from PIL import Image

from imagenet_trainer.data import image_files as files
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.image_files import ImageFile, decoded_files, find_images
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.errors import InputError


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a/1.jpeg", "3.webp", "notes.txt", "b/odd [1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = draw_shape("circle", len(name), 20 + len(name))
        ending = name.rpartition(".")[2].lower()
        data = cv2.imencode(f".{ending}", image)[1].tobytes() if ending != "txt" else b"words"
        (tmp_path / name).write_bytes(data)
    return tmp_path


def names(found, tree):
    return [(one.path[len(str(tree)) + 1 :], one.named) for one in found]


def test_a_folder_with_all_below_it(tree):
    wanted = ["3.webp", "a/1.jpeg", "b/10.JPG", "b/2.png", "b/odd [1].png"]
    assert names(find_images([str(tree)]), tree) == [(name, False) for name in wanted]


def test_files_and_patterns_in_their_order(tree):
    words = [str(tree / "notes.txt"), str(tree / "b" / "*.png"), str(tree / "**" / "*.jpeg")]
    assert names(find_images(words), tree) == [
        ("notes.txt", True), ("b/2.png", False), ("b/odd [1].png", False), ("a/1.jpeg", False),
    ]  # fmt: skip
    # A file whose name looks like a pattern is a file.
    assert names(find_images([str(tree / "b" / "odd [1].png")]), tree) == [("b/odd [1].png", True)]


@pytest.mark.parametrize(
    ("word", "told"),
    [("https://a.org/b.jpg", "is a URL"), ("s3://bucket/b.jpg", "is a URL"),
     ("nothing*.png", "no file matches"), ("empty", "has no images"), ("c.jpg", "No such file")],
)  # fmt: skip
def test_what_is_not_there(tmp_path, monkeypatch, word, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f".*{told}") as error:
        find_images([word])
    assert str(error.value).startswith(word)


@pytest.mark.parametrize("threads", [1, 4])
def test_files_come_in_order_with_their_damage(tree, threads):
    found = [*find_images([str(tree)]), ImageFile(str(tree / "notes.txt"), True)]
    transform = ViewTransform((3, 16, 16), 18)
    parts = list(decoded_files(found, transform, threads, 3))
    assert isinstance(parts[-1], InputError) and "notes.txt: not an image" in str(parts[-1])
    for one, part in zip(found, parts[:-1]):
        image = cv2.imread(one.path)[..., ::-1]
        wanted = np.empty((16, 16, 3), np.uint8)
        EvalTransform((3, 16, 16), 18).apply(image, None, 0, wanted)
        np.testing.assert_array_equal(part.views, wanted)
        assert part.path == one.path and part.size == image.shape[:2]


def test_images_of_odd_kinds(tmp_path):
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    Image.fromarray(grey).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    Image.fromarray(grey).save(tmp_path / "animation.gif")
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    for path in sorted(tmp_path.iterdir()):
        found = files.read_image(str(path))
        assert found.shape == (20, 20, 3) and found.dtype == np.uint8
        assert np.abs(found.astype(int) - grey[..., None]).max() < 12, path
    with pytest.raises(InputError, match=r"not a file"):
        os.mkfifo(tmp_path / "pipe")
        files.read_image(str(tmp_path / "pipe"))


def test_memory_does_not_grow_with_the_number_of_files(monkeypatch):
    begun = []

    def read(path):
        begun.append(path)
        return np.zeros((20, 20, 3), np.uint8)

    monkeypatch.setattr(files, "read_image", read)
    found = [ImageFile(str(number), True) for number in range(1000)]
    parts = decoded_files(found, ViewTransform((3, 16, 16), 16), 2, 5)
    for count in range(1, 11):
        next(parts)
        assert len(begun) <= count + 5
    parts.close()
    assert len(begun) <= 16
    assert not [one for one in threading.enumerate() if "ThreadPool" in one.name]
