from pathlib import Path

import cv2
import numpy as np
import pytest

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.recordio import RecordFile, rebuild_index
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.packing.repair import open_pack, repair
from imagenet_trainer.packing.verify import shards_of, verify
from imagenet_trainer.packing.write import write_pack


def quiet(*_):
    pass


@pytest.fixture
def prefix(tmp_path):
    """Twelve images in three shards; number 2 is damaged and in none."""
    random = np.random.default_rng(0)
    (tmp_path / "root").mkdir()
    lines = []
    for number in range(13):
        pixels = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        data = b"" if number == 2 else cv2.imencode(".jpg", pixels)[1].tobytes()
        (tmp_path / "root" / f"{number}.jpg").write_bytes(data)
        lines.append(f"{number + 50}\t0\t{number}.jpg\n")
    (tmp_path / "x.lst").write_text("".join(lines))
    images = read_list(tmp_path / "x.lst")
    root, classes = str(tmp_path / "root"), ()
    pack = Pack(str(tmp_path / "x"), root, images, classes, Conversion(resize=16), 3)
    write_pack(pack, 2, 1, quiet, quiet)
    return tmp_path / "x"


def shards(prefix):
    return shards_of(str(prefix), "--verify")


def damage(prefix, threads=2):
    """What is found, a line each."""
    found = verify(shards(prefix), threads, quiet)
    assert all(line.startswith(f"{path}: ") for path, lines in found.items() for line in lines)
    return [line[len(path) + 2 :] for path, lines in found.items() for line in lines]


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_whole_shards(prefix):
    counted = []
    assert verify(shards(prefix), 4, lambda *numbers: counted.append(numbers)) == {}
    assert counted == [(done, 12, 0) for done in range(1, 13)]
    assert verify(shards(prefix)[1:2], 1, quiet) == {}


def test_what_a_name_stands_for(prefix):
    names = [f"x-0000{number}-of-00003.rec" for number in range(3)]
    for name in (prefix, f"{prefix}.rec"):
        assert [Path(path).name for path in shards_of(str(name), "--verify")] == names
    one = str(prefix.parent / names[1])
    assert shards_of(one, "--verify") == [one]
    # Without a manifest, those that are there; with one, those that should be.
    Path(one).unlink()
    assert one in shards(prefix)
    prefix.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"--verify .*x-\*\.rec"):
        shards(prefix)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_damaged_record_is_named(prefix, threads):
    places = {}
    for number, path in enumerate(shards(prefix)):
        offsets = RecordFile(path).offsets.tolist()
        places[number] = offsets
        if number == 0:
            overwrite(path, offsets[1] + 8 + 24, b"\0\0\0\0")  # the image's first bytes
            overwrite(path, offsets[2], b"\0")  # the magic number
        elif number == 2:
            overwrite(path, offsets[0] + 12, b"\0\0\x40\x40")  # the label
            overwrite(path, offsets[3] + 16, b"\x09")  # the id
            overwrite(path, offsets[1] + 300, b"\x55\x55")  # in the image, which still decodes
    told = damage(prefix, threads)
    assert told == [
        f"record 1 at byte {places[0][1]}: not an image that can be decoded",
        f"record 2 at byte {places[0][2]}: the magic number is missing, the shard was "
        "overwritten there",
        f"record 0 at byte {places[2][0]}: its bytes have changed since it was packed",
        f"record 1 at byte {places[2][1]}: its bytes have changed since it was packed",
        f"record 3 at byte {places[2][3]}: its id is 9, the index says 61",
    ]


def test_zeros_behind_a_record(prefix):
    path = shards(prefix)[0]
    file = RecordFile(path)
    record = next(n for n in range(4) if len(file.read(n)) % 4)
    overwrite(path, [*file.offsets.tolist(), file.size][record + 1] - 1, b"\1")
    assert damage(prefix)[0].startswith(f"record {record} at byte")
    # Without checksums the digest of the whole shard still tells.
    json = prefix.with_suffix(".json")
    shard = read_manifest(path).shards[0]
    json.write_text(json.read_text().replace(shard.crc32, ""))
    assert damage(prefix) == ["its SHA-256 is not that of its manifest, bytes have changed"]


def test_files_that_are_short_or_gone(prefix):
    first, second, third = shards(prefix)
    size = Path(first).stat().st_size
    with open(first, "r+b") as file:
        file.truncate(size - 5)
    Path(second).unlink()
    Path(third[:-3] + "idx").unlink()
    length, short, gone, without = damage(prefix)
    assert length == f"3 records in {size - 5} bytes, but its manifest says 3 in {size}"
    assert short.startswith("record 2 at byte") and "cut short" in short
    assert "No such file" in gone and "index" in without


def test_without_a_manifest_records_are_all_that_can_be_proved(prefix):
    paths = shards(prefix)
    prefix.with_suffix(".json").unlink()
    overwrite(paths[0], RecordFile(paths[0]).offsets[1] + 12, b"\0\0\x40\x40")
    assert verify(paths, 2, quiet) == {}
    overwrite(paths[0], RecordFile(paths[0]).offsets[1] + 8 + 24, b"\0\0\0\0")
    assert len(verify(paths, 2, quiet)) == 1


def test_a_shard_of_another_pack(prefix):
    other = prefix.parent / "x-00000-of-00009.rec"
    other.touch()
    with pytest.raises(InputError, match=r"x\.json is of another pack"):
        verify([str(other)], 1, quiet)


# --- repair ------------------------------------------------------------------------------------


def break_all(prefix):
    """Damage every shard in another way; the files as they were."""
    before = {path.name: path.read_bytes() for path in prefix.parent.glob("x*")}
    first, second, third = shards(prefix)
    overwrite(first, 100, b"damage")
    Path(second).unlink()
    Path(third[:-3] + "idx").write_text("nonsense")
    return before


def test_repaired_shards_have_the_same_bytes(prefix):
    before = break_all(prefix)
    told = verify(shards(prefix), 2, quiet)
    assert len(told) == 3
    pack = open_pack(str(prefix), "")
    for path in told:
        repair(pack, path, 2, quiet)
    assert {path.name: path.read_bytes() for path in prefix.parent.glob("x*")} == before
    assert verify(shards(prefix), 2, quiet) == {}


def test_images_that_have_moved(prefix):
    before = break_all(prefix)
    moved = prefix.parent / "moved"
    (prefix.parent / "root").rename(moved)
    with pytest.raises(InputError, match=r"0\.jpg: No such file.* put the file back"):
        repair(open_pack(str(prefix), ""), shards(prefix)[0], 1, quiet)
    repair(open_pack(str(prefix), str(moved)), shards(prefix)[0], 1, quiet)
    name = Path(shards(prefix)[0]).name
    assert Path(shards(prefix)[0]).read_bytes() == before[name]


def test_images_that_have_changed(prefix):
    root = prefix.parent / "root"
    (root / "5.jpg").write_bytes((root / "6.jpg").read_bytes())
    path = shards(prefix)[1]
    overwrite(path, 100, b"damage")
    damaged = Path(path).read_bytes()
    with pytest.raises(InputError, match=r"1 of its 4 images are not .*\(first 5\.jpg\).*x\.json"):
        repair(open_pack(str(prefix), ""), path, 2, quiet)
    assert Path(path).read_bytes() == damaged  # it stays for those who can save something
    assert not list(prefix.parent.glob("*.repair"))


def test_lists_and_manifests_that_do_not_fit(prefix):
    with open(f"{prefix}.lst", "a") as file:
        file.write("99\t0\t0.jpg\n")
    with pytest.raises(InputError, match=r"x\.lst: not the list that was packed"):
        open_pack(str(prefix), "")
    prefix.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"x\.json: No such file"):
        open_pack(str(prefix), "")


def test_an_index_can_be_had_without_the_images(prefix):
    index = Path(shards(prefix)[0][:-3] + "idx")
    before = index.read_bytes()
    index.write_text("nonsense")
    assert rebuild_index(shards(prefix)[0]) == 3
    assert index.read_bytes() == before
