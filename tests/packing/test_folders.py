import cv2
import numpy as np
import pytest
from helpers import miniature

from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.folders import LeftOut, NoClassFolders, NoImages, OnlyFolders, Tree
from imagenet_trainer.packing.im2rec import main

NAMES = ["b/x/1.jpg", "b/0.jpg", "b.c/2.jpg", "a/0.JPG", "a/1.png", "a/notes.txt", "c/d/e/9.jpg"]


def image(number):
    pixels = np.random.default_rng(number).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def write_tar(path, files):
    path.write_bytes(miniature.tar_of(files))


@pytest.fixture
def both(tmp_path):
    """The same images in a folder, in a tar, and in a tar of a tar for each class."""
    files = {name: image(number) for number, name in enumerate(NAMES)}
    for name, data in files.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    write_tar(tmp_path / "plain.tar", {f"./{name}": files[name] for name in reversed(NAMES)})
    inner = {}
    for top in ("b.c", "b", "a", "c"):
        inside = {n[len(top) + 1 :]: d for n, d in files.items() if n.startswith(top + "/")}
        write_tar(tmp_path / "inner.tar", inside)
        inner[f"{top}.tar"] = (tmp_path / "inner.tar").read_bytes()
    write_tar(tmp_path / "nested.tar", inner)
    return tmp_path


def test_a_tar_has_the_classes_of_the_folder(both):
    classes = [
        Tree(str(both / root), [".jpg", ".png"]).class_folders()
        for root in ("folder", "plain.tar", "nested.tar")
    ]
    assert classes[0] == classes[1] == classes[2]
    assert [folder for folder, _ in classes[0]] == ["a", "b", "b/x", "b.c", "c/d/e"]
    assert classes[0][0] == ("a", ["0.JPG", "1.png"])


def test_a_tar_makes_the_pack_of_the_folder(both, monkeypatch, capsys):
    monkeypatch.chdir(both)
    packs = []
    for root in ("folder", "plain.tar", "nested.tar"):
        assert main(["--list", "--recursive", f"{root}.d/x", root]) == 0
        assert main([f"{root}.d/x", root, "--shards", "2"]) == 0
        folder = both / f"{root}.d"
        packs.append({one.name: one.read_bytes() for one in folder.iterdir()})
        manifest = packs[-1].pop("x.json").decode()
        assert f'"root": "{root}"' in manifest and manifest.count('"id"') == 5
        shard = folder / "x-00001-of-00002.rec"
        data = shard.read_bytes()
        shard.write_bytes(data[:100])
        assert main(["--repair", f"{root}.d/x"]) == 0
        assert shard.read_bytes() == data
    assert packs[0] == packs[1] == packs[2]


def test_a_list_of_another_tar(both, monkeypatch, capsys):
    monkeypatch.chdir(both)
    assert main(["--list", "--recursive", "x", "plain.tar"]) == 0
    write_tar(both / "plain.tar", {"a/0.JPG": image(0)})
    assert main(["x", "plain.tar"]) == 2
    assert "is not in plain.tar (5 of 6 are missing); " in capsys.readouterr().err


def test_unusable_tars(both):
    write_tar(both / "flat.tar", {"1.jpg": b"", "2.jpg": b""})
    with pytest.raises(NoClassFolders, match="2 images"):
        Tree(str(both / "flat.tar"), [".jpg"]).class_folders()
    assert Tree(str(both / "flat.tar"), [".jpg"]).one_folder(True) == [("", ["1.jpg", "2.jpg"])]
    with pytest.raises(OnlyFolders, match="4 folders, a first"):
        Tree(str(both / "plain.tar"), [".jpg"]).one_folder(False)
    write_tar(both / "tab.tar", {"a/1\t2.jpg": b"", "a/3.jpg": b""})
    rejected = []
    tree = Tree(str(both / "tab.tar"), [".jpg"], lambda *reason: rejected.append(reason))
    assert tree.class_folders() == [("a", ["3.jpg"])]
    assert rejected[0][0].endswith("1\t2.jpg") and "tab" in rejected[0][1]
    (both / "no.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(InputError, match=r"no\.tar: "):
        Tree(str(both / "no.tar"), [".jpg"]).class_folders()


@pytest.mark.parametrize("packed", ["folder", "tar"])
def test_hidden_files_and_folders_are_skipped(tmp_path, packed):
    names = ["a/1.jpg", "a/._1.jpg", "a/.ipynb_checkpoints/1.jpg", ".cache/1.jpg", "b/1.jpg"]
    for name in names:
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(b"")
    root = tmp_path / "all"
    if packed == "tar":
        root = tmp_path / "all.tar"
        write_tar(root, dict.fromkeys(names, b""))
    assert Tree(str(root), [".jpg"]).class_folders() == [("a", ["1.jpg"]), ("b", ["1.jpg"])]
    assert Tree(str(root), [".jpg"]).paths() == ["a/1.jpg", "b/1.jpg"]


@pytest.mark.parametrize("packed", ["folder", "tar"])
def test_images_with_other_extensions_are_counted(tmp_path, packed):
    names = ["a/1.jpg", "a/2.webp", "b/1.jfif", "b/2.WEBP", "b/notes.txt", "b/.3.webp"]
    files = {**dict.fromkeys(names, b"x"), "c/1": image(0), "c/2.jpg_large": image(1), "c/3": b"x"}
    for name, data in files.items():
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(data)
    root, unknown = tmp_path / "all", {"": 1, ".jpg_large": 1}  # recognised by their first bytes
    if packed == "tar":
        root, unknown = tmp_path / "all.tar", {}
        write_tar(root, files)
    left_out = LeftOut()
    assert Tree(str(root), [".jpg"], left_out=left_out).class_folders() == [("a", ["1.jpg"])]
    assert left_out.extensions == {".webp": 2, ".jfif": 1, **unknown}
    assert ".webp 2, .jfif 1" in left_out.describe()
    assert left_out.folders == ({"b"} if packed == "tar" else {"b", "c"})  # a is a class
    assert LeftOut().describe() == ""
    with pytest.raises(NoImages, match=r"extensions \.png\).*\.webp 2"):
        Tree(str(root), [".png"]).class_folders()
