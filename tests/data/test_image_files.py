import errno
import os
import threading

import cv2
import numpy as np
import pytest
from conftest import draw_shape
from PIL import Image

from imagenet_trainer.data import image_files
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.image_files import ImageFile, decoded_files, find_images, read_image
from imagenet_trainer.data.views import ViewTransform
from imagenet_trainer.errors import InputError, TemporaryError


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a/1.jpeg", "3.webp", "notes.txt", "b/odd [1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        image = draw_shape("circle", len(name), 20 + len(name))
        extension = name.rpartition(".")[2].lower()
        is_image = extension != "txt"
        data = cv2.imencode(f".{extension}", image)[1].tobytes() if is_image else b"text"
        (tmp_path / name).write_bytes(data)
    return tmp_path


def names(files, tree):
    return [(file.path[len(str(tree)) + 1 :], file.named) for file in files]


def test_a_folder_with_all_below_it(tree):
    expected = ["3.webp", "a/1.jpeg", "b/10.JPG", "b/2.png", "b/odd [1].png"]
    assert names(find_images([str(tree)]), tree) == [(name, False) for name in expected]


def test_files_and_patterns_in_order(tree):
    paths = [str(tree / "notes.txt"), str(tree / "b" / "*.png"), str(tree / "**" / "*.jpeg")]
    assert names(find_images(paths), tree) == [
        ("notes.txt", True), ("b/2.png", False), ("b/odd [1].png", False), ("a/1.jpeg", False),
    ]  # fmt: skip
    # A file whose name looks like a pattern is a file.
    assert names(find_images([str(tree / "b" / "odd [1].png")]), tree) == [("b/odd [1].png", True)]


@pytest.mark.parametrize(
    ("path", "message"),
    [("https://a.org/b.jpg", "URL"), ("s3://bucket/b.jpg", "URL"), ("nothing*.png", "no file"),
     ("empty", "no images"), ("c.jpg", "No such file"), ("val.tar", "unpack it .*im2rec"),
     ("val.rec", "evaluate with --data-val")],
)  # fmt: skip
def test_paths_without_images(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("val.tar", "val.rec"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=message) as caught:
        find_images([path])
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("threads", [1, 4])
def test_files_are_decoded_in_order_with_errors(tree, threads):
    files = [*find_images([str(tree)]), ImageFile(str(tree / "notes.txt"), True)]
    transform = ViewTransform((3, 16, 16), 18)
    results = list(decoded_files(files, transform, threads, 3))
    assert isinstance(results[-1], InputError) and "notes.txt: not an image" in str(results[-1])
    for file, result in zip(files, results[:-1]):
        image = cv2.imread(file.path)[..., ::-1]
        expected = np.empty((16, 16, 3), np.uint8)
        EvalTransform((3, 16, 16), 18).apply(image, None, 0, expected)
        np.testing.assert_array_equal(result.views, expected)
        assert result.path == file.path and result.size == image.shape[:2]


def test_rare_formats(tmp_path):
    grey = np.arange(400, dtype=np.uint8).reshape(20, 20)
    Image.fromarray(grey).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    Image.fromarray(grey).save(tmp_path / "animation.gif")
    cv2.imwrite(str(tmp_path / "deep.png"), grey.astype(np.uint16) * 257)
    for path in sorted(tmp_path.iterdir()):
        image = read_image(str(path))
        assert image.shape == (20, 20, 3) and image.dtype == np.uint8
        assert np.abs(image.astype(int) - grey[..., None]).max() < 12, path
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: not a file"):
        read_image(str(tmp_path / "pipe"))


def test_a_file_system_that_fails_damages_no_image(tree, monkeypatch):
    """Its files would be skipped."""
    monkeypatch.setattr(
        os, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.ESTALE, "Stale"))
    )
    transform = ViewTransform((3, 16, 16), 16)
    with pytest.raises(TemporaryError, match=r"3\.webp: Stale; mount"):
        list(decoded_files(find_images([str(tree)]), transform, 2, 5))


def test_memory_does_not_grow_with_the_number_of_files(monkeypatch):
    started = []

    def read(path):
        started.append(path)
        return np.zeros((20, 20, 3), np.uint8)

    monkeypatch.setattr(image_files, "read_image", read)
    files = [ImageFile(str(number), True) for number in range(1000)]
    results = decoded_files(files, ViewTransform((3, 16, 16), 16), 2, 5)
    for count in range(1, 11):
        next(results)
        assert len(started) <= count + 5
    results.close()
    assert len(started) <= 16
    assert not [one for one in threading.enumerate() if "ThreadPool" in one.name]


def test_linked_folders_are_followed_but_not_in_a_circle(tree, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (tree / "a" / "1.jpeg").rename(other / "1.jpeg")
    (tree / "a" / "linked").symlink_to(other)
    (tree / "b" / "up").symlink_to(tree)
    (tree / "b" / "here").symlink_to(tree / "b")
    found = [name for name, _ in names(find_images([str(tree)]), tree)]
    assert found == ["3.webp", "a/linked/1.jpeg", "b/10.JPG", "b/2.png", "b/odd [1].png"]


def test_a_file_that_is_cut_short_is_refused(tree, capfd):
    data = (tree / "a" / "1.jpeg").read_bytes()
    for damaged in (data[:-100], data[: len(data) * 2 // 3] + data[-2:]):
        (tree / "cut.jpg").write_bytes(damaged)
        with pytest.raises(InputError, match=r"cut\.jpg: "):
            read_image(str(tree / "cut.jpg"))
    assert capfd.readouterr().err == ""
