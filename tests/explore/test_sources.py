import errno
import io
import os
import tarfile

import numpy as np
import pytest
from conftest import write_records
from PIL import Image

from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError, TemporaryError
from imagenet_trainer.explore.sources import open_source
from imagenet_trainer.packing import im2rec


def image(width=8, height=6, kind="PNG", **words):
    file = io.BytesIO()
    Image.new("RGB", (width, height), (9, 8, 7)).save(file, kind, **words)
    return file.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Two classes of three images, widths 10 to 15, in odd order."""
    root = tmp_path / "pictures"
    names = ["cat/c.png", "cat/a.png", "dog/x/d.png", "dog/x/a.png", "cat/b.png"]
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(width=10 + number))
    return root


def widths(source):
    return {source.name(n): source.info(n).header.width for n in range(len(source))}


def test_a_tree(tree):
    source = open_source(str(tree))
    names = [source.name(n) for n in range(5)]
    assert names == ["cat/a.png", "cat/b.png", "cat/c.png", "dog/x/a.png", "dog/x/d.png"]
    assert [one.id for one in source.classes] == ["cat", "dog/x"]
    assert [source.info(n).label for n in range(5)] == [0, 0, 0, 1, 1]
    assert widths(source)["dog/x/d.png"] == 12
    assert source.read(1) == (tree / "cat/b.png").read_bytes()
    assert source.info(1).size == len(source.read(1))


def test_folder_list_and_shards_are_alike(tree, tmp_path):
    prefix = str(tmp_path / "data" / "train")
    assert im2rec.main(["--list", "--recursive", prefix, str(tree)]) == 0
    assert im2rec.main([prefix, str(tree), "--pass-through"]) == 0
    folder = open_source(str(tree))
    listed = open_source(f"{prefix}.lst", str(tree))
    packed = open_source(f"{prefix}.rec")
    assert widths(listed) == widths(folder)
    assert sorted(packed.name(n) for n in range(5)) == [f"train.rec:{n}" for n in range(5)]
    for n in range(5):
        assert packed.info(n) == listed.info(n)  # shards and list are in one order
        assert packed.read(n) == listed.read(n)
    assert folder.classes == listed.classes == packed.classes


def test_shards_with_different_classes(tmp_path):
    """Their labels have different names."""
    for name, classes in (("x", ("ant", "cat")), ("y", ("bee", "dog"))):
        for one in classes:
            (tmp_path / name / one).mkdir(parents=True)
            (tmp_path / name / one / "1.png").write_bytes(image())
        words = [f"{tmp_path}/packed-{name}", f"{tmp_path}/{name}"]
        assert im2rec.main(["--list", "--recursive", *words]) == 0
        assert im2rec.main([*words, "--pass-through"]) == 0
    with pytest.raises(InputError, match="the shards have different classes"):
        open_source(f"{tmp_path}/packed-x.rec,{tmp_path}/packed-y.rec")


def test_a_tar_is_like_its_folder(tree, tmp_path):
    (tree / "cat/empty.png").touch()
    (tree / "cat.x").mkdir()  # sorts before cat/, but after cat
    (tree / "cat.x/1.png").write_bytes(image(3))
    prefix = str(tmp_path / "data" / "train")
    assert im2rec.main(["--list", "--recursive", prefix, str(tree)]) == 0
    (tree / ".hidden").mkdir()
    (tree / ".hidden/x.png").touch()
    path = str(tmp_path / "pictures.tar")
    with tarfile.open(path, "w") as tar:
        tar.add(tree, ".")
    sources = {
        open_source(str(tree)): open_source(path),
        open_source(f"{prefix}.lst", str(tree)): open_source(f"{prefix}.lst", path),
    }
    for folder, tar in sources.items():
        assert folder.classes == tar.classes and len(folder) == len(tar) == 7
        for n in range(7):
            assert folder.name(n) == tar.name(n)
            if "empty" in folder.name(n):
                with pytest.raises(ValueError, match="empty"):
                    tar.info(n)
            else:
                assert folder.info(n) == tar.info(n) and folder.read(n) == tar.read(n)


def test_unreadable_files_have_a_reason(tree):
    (tree / "cat/empty.png").touch()
    (tree / "cat/notes.txt").write_text("no image")
    (tree / "cat/gone.png").symlink_to("nowhere")
    os.mkfifo(tree / "cat/pipe.png")
    (tree / "cat/circle").symlink_to("circle")
    source = open_source(str(tree))
    names = {source.name(n): n for n in range(len(source))}
    for name, reason in [
        ("empty.png", "empty"), ("notes.txt", "not an image"), ("gone.png", "No such file"),
        ("pipe.png", "not a file"), ("circle", "symbolic link"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=reason):
            source.info(names[f"cat/{name}"])
    with pytest.raises(ValueError, match="No such file"):
        source.read(names["cat/gone.png"])


def test_a_file_system_that_fails_is_no_property_of_a_file(tree, monkeypatch):
    """As in packing, which would reject every file."""
    source, stale = open_source(str(tree)), OSError(errno.ESTALE, "Stale file handle")
    monkeypatch.setattr(os, "stat", lambda *_: (_ for _ in ()).throw(stale))
    with pytest.raises(TemporaryError, match=r"cat/a\.png: Stale .*; mount"):
        source.info(0)


def test_links_in_a_circle_end(tree):
    (tree / "cat/up").symlink_to(tree)
    (tree / ".hidden").mkdir()
    (tree / ".hidden/x.png").touch()
    assert len(open_source(str(tree))) == 5


def test_headers_longer_than_what_is_read_first(tmp_path):
    # A colour profile of 100 kB precedes the size.
    data = [image(40 + n, 30, "JPEG", icc_profile=bytes(100_000 * n)) for n in range(2)]
    records = [pack_header(3.0, 0) + data[0], pack_header([1.0, 2.0], 1) + data[1]]
    source = open_source(str(write_records(tmp_path / "a.rec", records)))
    assert [source.info(n).header.width for n in range(2)] == [40, 41]
    assert [source.info(n).size for n in range(2)] == [len(one) for one in data]
    assert [source.info(n).label for n in range(2)] == [3, -1]  # two labels are no class
    assert source.classes == ()


def test_a_record_in_parts(tmp_path):
    magic = b"\x0a\x23\xd7\xce"
    inner = image(9, 9)
    data = inner + bytes(-len(inner) % 4) + magic + bytes(40_000)
    source = open_source(str(write_records(tmp_path / "a.rec", [pack_header(0.0, 0) + data])))
    assert source.info(0).size == len(data)
    assert source.read(0) == data


def test_damaged_records_have_a_reason(tmp_path):
    records = [pack_header(0.0, n) + (image() if n != 2 else b"nothing") for n in range(4)]
    path = write_records(tmp_path / "a.rec", records)
    source = open_source(str(path))
    with open(path, "r+b") as file:
        file.seek(int(source.shards.files[0].offsets[1]))
        file.write(bytes(8))
    for number, reason in ((1, "magic number"), (2, "not an image")):
        with pytest.raises(ValueError, match=reason):
            source.info(number)
    assert source.info(3).header.width == 8


@pytest.mark.parametrize("kind", ["tar", "rec"])
def test_only_the_beginning_of_an_image_is_read(tmp_path, monkeypatch, kind):
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    path, data = tmp_path / f"x.{kind}", (tmp_path / "a.png").read_bytes()
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            tar.add(tmp_path / "a.png", "cat/a.png")
    else:
        write_records(path, [pack_header(0.0, 0) + data])
    source = open_source(str(path))
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *words: read.append(words[1]) or pread(*words))
    assert source.info(0).size == len(data) > 400_000
    assert sum(read) < 20_000


def test_empty_folders_and_tars(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        open_source(str(tmp_path))
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(".hidden/x"))
    with pytest.raises(InputError, match=r"x\.tar: "):
        open_source(str(tmp_path / "x.tar"))
