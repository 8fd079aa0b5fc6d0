"""Classes matched by identity, and read from files of several kinds."""

import json
import re

import numpy as np
import pytest

from imagenet_trainer.data.classes import OtherClasses, default_classes, match, read_classes
from imagenet_trainer.errors import InputError

IMAGENET = default_classes(1000)
POSITION = {one: label for label, (one, _) in enumerate(IMAGENET)}


def named(*names):
    return tuple((name, name) for name in names)


def test_164_folders_of_imagenet_in_any_order():
    chosen = np.random.default_rng(0).permutation(1000)[:164]
    own = tuple(IMAGENET[label] for label in chosen)
    np.testing.assert_array_equal(match(own, IMAGENET, "net", np.ones(164)), chosen)
    assert match(own, own, "net", np.ones(164)) is None


def test_classes_without_images_need_no_match():
    own = (*named("cat"), ("class_1", "class_1"), *named("unknown", "dog"))
    reference = named("ant", "cat", "dog")
    found = match(own, reference, "net", np.array([2, 0, 0, 3]))
    assert found.tolist() == [1, -1, -1, 2]
    with pytest.raises(OtherClasses, match=r"1 of its 3 classes .*of net: unknown"):
        match(own, reference, "net", np.array([2, 0, 1, 3]))


def test_labels_without_names_are_those_of_the_network():
    # A list by hand in one folder, whose last class has no image.
    own = tuple((f"class_{label}", "") for label in range(999))
    assert match(own, IMAGENET, "net", np.ones(999)) is None
    with pytest.raises(OtherClasses, match=r"has label 999, but net has 998 classes"):
        match((*own, ("class_999", "")), IMAGENET[:998], "net", np.ones(1000))


def test_names_are_matched_where_ids_differ():
    own = named("Tiger_shark", "goldfish", "tabby cat")
    wanted = [POSITION[wnid] for wnid in ("n01491361", "n01443537", "n02123045")]
    assert match(own, IMAGENET, "net").tolist() == wanted
    with pytest.raises(OtherClasses, match="crane"):  # a bird and a machine
        match(named("crane", "goldfish"), IMAGENET, "net")
    with pytest.raises(OtherClasses, match="goldfish and Carassius auratus are the same class"):
        match(named("goldfish", "Carassius auratus"), IMAGENET, "net")


def test_folders_that_are_labels():
    # ImageNetV2: 0 to 999, sorted as text.
    folders = sorted(map(str, range(1000)))
    found = match(named(*folders), IMAGENET, "net", np.ones(1000))
    assert found.tolist() == [int(folder) for folder in folders]
    for other in ("007", "1000", "-1"):
        with pytest.raises(OtherClasses):
            match(named("5", other), IMAGENET, "net")


def test_a_network_without_names():
    own = named("cat", "dog")
    assert match(own, default_classes(2), "net", np.ones(2)) is None
    with pytest.raises(OtherClasses, match="has 2 classes where net has 3, which have no names"):
        match(own, default_classes(3), "net", np.ones(2))


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.txt", "n01440764 tench, Tinca tinca\n\nn01443537\n", IMAGENET[:2]),
        ("a.txt", "\ufeffcat\nbig dog\n", named("cat", "big dog")),
        ("keras.json", {"1": ["n01443537", "b"], "0": ["n01440764", "a"]},
         (("n01440764", "a"), ("n01443537", "b"))),
        ("torch.json", {"dog": 1, "cat": 0}, named("cat", "dog")),
        ("list.json", ["cat", "dog"], named("cat", "dog")),
        ("train.json", {"classes": [{"id": "x", "name": "y", "pictures": 3}]}, (("x", "y"),)),
        # ImageNet's simple names have two cranes.
        ("list.json", ["crane", "cat", "crane"],
         (("crane_0", "crane"), ("cat", "cat"), ("crane_2", "crane"))),
    ],
)  # fmt: skip
def test_files_of_classes(tmp_path, name, content, wanted):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_classes(str(path)) == wanted


def test_classes_of_a_run(tmp_path):
    about = {"classes": [["a", "ant"], ["b", "bee"]]}
    for epoch in (2, 11):
        about["classes"][0][1] = f"ant {epoch}"
        np.savez(tmp_path / f"model-{epoch:04d}.npz", about=np.array(json.dumps(about)))
    prefix = str(tmp_path / "model")
    assert read_classes(prefix) == (("a", "ant 11"), ("b", "bee"))
    assert read_classes(f"{prefix}-0002.params")[0] == ("a", "ant 2")
    assert read_classes("imagenet") == IMAGENET


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""), ("a.txt", b"\xff\xfe"), ("a.json", b"{"), ("a.json", b"3"),
        ("a.json", b'{"0": "a", "2": "b"}'), ("a.npz", b"PK"), ("a.json", b'{"classes": [3]}'),
        ("a.json", b'{"classes": [{}]}'), ("a.json", b"[" * 9999), ("a.json", b"[[1]]"),
        ("a.npz", b"PK\3\4" + bytes(99)), ("a.npz", b"\x93NUMPY"),
    ],
)  # fmt: skip
def test_files_without_classes(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}: has no classes"):
        read_classes(str(path))
    with pytest.raises(InputError, match="gone: no such file or checkpoint; give imagenet, "):
        read_classes(str(tmp_path / "gone"))
