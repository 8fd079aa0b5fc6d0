import os
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import write_images, write_records

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.manifest import ClassName, read_manifest, write_manifest
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing import im2rec
from imagenet_trainer.packing.unpack import Unpacked, unpack


def quiet(*_):
    pass


def files(folder):
    found = {}
    for parent, _, names in os.walk(folder):
        found |= {os.path.relpath(f"{parent}/{n}", folder): f"{parent}/{n}" for n in names}
    return {name: Path(path).read_bytes() for name, path in sorted(found.items())}


def packed_files(tmp_path):
    """Six files in three folders, as they are, and the prefix of their pack."""
    write_images(tmp_path / "images", 2)
    prefix = str(tmp_path / "data" / "train")
    assert im2rec.main(["--list", "--recursive", prefix, str(tmp_path / "images")]) == 0
    assert im2rec.main(["--pass-through", prefix, str(tmp_path / "images")]) == 0
    return tmp_path / "images", prefix


def test_files_come_back(tmp_path, capsys):
    images, prefix = packed_files(tmp_path)
    out = tmp_path / "out"
    assert im2rec.main(["--unpack", prefix, str(out)]) == 0
    # 000.png and 001.png are in every folder, so the keys tell them apart.
    came, went = files(out), files(images)
    assert sorted(came.values()) == sorted(went.values())
    assert {os.path.dirname(name) for name in came} == {"circle", "cross", "square"}
    assert all(os.path.basename(name).startswith("00") and name.endswith(".png") for name in came)
    assert "6 images" in capsys.readouterr().out
    # Packed again, the labels are the same.
    again = str(tmp_path / "again" / "train")
    assert im2rec.main(["--list", "--recursive", again, str(out)]) == 0
    assert im2rec.main(["--pass-through", again, str(out)]) == 0

    def labels(path):
        shards = open_dataset(path).shards
        records = [shards.record(number) for number in range(6)]
        return {bytes(one.image): one.label for one in records}

    assert labels(f"{again}.rec") == labels(f"{prefix}.rec")


def test_names_that_occur_once_are_kept(tmp_path):
    images, _ = packed_files(tmp_path)
    for number, path in enumerate(sorted(images.rglob("*.png"))):
        path.rename(path.with_name(f"image {number}{'x' * 244}.PNG"))  # no byte more is allowed
    prefix = str(tmp_path / "own" / "train")
    assert im2rec.main(["--list", "--recursive", prefix, str(images)]) == 0
    assert im2rec.main(["--pass-through", prefix, str(images)]) == 0
    assert im2rec.main(["--unpack", f"{prefix}.rec", str(tmp_path / "out")]) == 0
    assert files(tmp_path / "out") == files(images)
    # Packed as JPEG, they are JPEG files.
    assert im2rec.main([prefix + "2", str(images)]) == 2  # no such list
    os.rename(f"{prefix}.lst", f"{prefix}2.lst")
    assert im2rec.main([prefix + "2", str(images)]) == 0
    assert im2rec.main(["--unpack", prefix + "2", str(tmp_path / "jpeg")]) == 0
    assert {name[-4:] for name in files(tmp_path / "jpeg")} == {".jpg"}


def test_a_name_with_a_key_is_no_other_image_s_name(tmp_path):
    images, prefix = packed_files(tmp_path)
    Path(f"{prefix}.lst").write_text(
        "1\t0\tcircle/000.png\n2\t0\tcircle/000-1.png\n3\t1\tcross/000.png\n"
    )
    (images / "circle" / "001.png").rename(images / "circle" / "000-1.png")
    assert im2rec.main(["--pass-through", prefix, str(images)]) == 0
    assert im2rec.main(["--unpack", prefix, str(tmp_path / "out")]) == 0
    assert len(files(tmp_path / "out")) == 3
    assert (tmp_path / "out" / "circle" / "000-1.png").exists()


def test_an_interrupted_command_continues(tmp_path):
    _, prefix = packed_files(tmp_path)
    arguments = f"{prefix}.rec", f"{prefix}.lst", str(tmp_path / "out")

    def stop(done, total, _):
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(*arguments, 1, stop)
    first = files(tmp_path / "out")
    assert len(first) == 3
    name = next(iter(first))
    (tmp_path / "out" / name).write_bytes(b"")  # as a loss of power leaves it
    assert unpack(*arguments, 2, quiet) == Unpacked(4, 2)
    assert unpack(*arguments, 2, quiet) == Unpacked(0, 6)
    (tmp_path / "out" / name).write_bytes(b"another")
    with pytest.raises(InputError, match="exists with other content"):
        unpack(*arguments, 2, quiet)


def test_a_pack_without_manifest_and_list(tmp_path):
    images = [b"\xff\xd8 jpeg", b"\x89PNG image", b"unknown"]
    records = [pack_header([3.0, 5.0], 0)]  # of a set for face recognition: no image
    records += [
        pack_header(label, key) + image for key, label, image in zip((7, 8, 9), (10, 2, 2), images)
    ]
    path = write_records(tmp_path / "a.rec", records)
    (tmp_path / "a.idx").unlink()
    assert unpack(str(path), "", str(tmp_path / "out"), 1, quiet) == Unpacked(3, 0)
    assert files(tmp_path / "out") == {
        "02/00000008.png": images[1], "02/00000009.img": images[2], "10/00000007.jpg": images[0],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/../../b"])
def test_classes_stay_below_the_folder(tmp_path, name):
    _, prefix = packed_files(tmp_path)
    manifest = read_manifest(f"{prefix}.rec")
    classes = (ClassName(name, name), *manifest.classes[1:])
    write_manifest(f"{prefix}.json", replace(manifest, classes=classes))
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match="class"):
        unpack(f"{prefix}.rec", "", str(tmp_path / "out"), 1, quiet)
    assert sorted(os.listdir(tmp_path)) == before


def test_wrong_command_lines(tmp_path, capsys):
    _, prefix = packed_files(tmp_path)
    for words in ([prefix], [prefix, "a", "b"], [str(tmp_path / "none"), "out"]):
        assert im2rec.main(["--unpack", *words]) == 2
        assert "--unpack" in capsys.readouterr().err
