from pathlib import Path

import cv2
import numpy as np
import pytest

from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import read_manifest
from imagenet_trainer.data.records.record_file import RecordFile
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
    return shards_of(str(prefix))


def damage(prefix, threads=2):
    """The damage, one line each, without the path."""
    result = verify(shards(prefix), threads, quiet).damage
    assert all(line.startswith(f"{path}: ") for path, lines in result.items() for line in lines)
    return [line[len(path) + 2 :] for path, lines in result.items() for line in lines]


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_intact_shards(prefix):
    counted = []
    assert verify(shards(prefix), 4, lambda *numbers: counted.append(numbers)).damage == {}
    assert counted == [(done, 12, 0) for done in range(1, 13)]
    assert verify(shards(prefix)[1:2], 1, quiet).damage == {}


def test_shards_of_a_prefix_or_a_file(prefix):
    names = [f"x-0000{number}-of-00003.rec" for number in range(3)]
    for name in (prefix, f"{prefix}.rec"):
        assert [Path(path).name for path in shards_of(str(name))] == names
    one = str(prefix.parent / names[1])
    assert shards_of(one) == [one]
    # With a manifest, the shards that it lists; without one, those that exist.
    Path(one).unlink()
    assert one in shards(prefix)
    prefix.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"x\.rec: "):
        shards(prefix)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_every_damaged_record_is_named(prefix, threads):
    first, _, third = shards(prefix)
    offsets = {0: RecordFile(first).offsets.tolist(), 2: RecordFile(third).offsets.tolist()}
    overwrite(first, offsets[0][1] + 8 + 24, b"\0\0\0\0")  # the image's first bytes
    overwrite(first, offsets[0][2], b"\0")  # the magic number
    overwrite(third, offsets[2][0] + 12, b"\0\0\x40\x40")  # the label
    overwrite(third, offsets[2][3] + 16, b"\x09")  # the id
    overwrite(third, offsets[2][1] + 300, b"\x55\x55")  # in the image, which still decodes
    damaged = [(0, 1, "decoded"), (0, 2, "magic number"), (2, 0, "bytes have changed"),
               (2, 1, "bytes have changed"), (2, 3, "its id is 9, but 61")]  # fmt: skip
    lines = damage(prefix, threads)
    assert len(lines) == len(damaged)
    for line, (shard, record, reason) in zip(lines, damaged):
        assert line.startswith(f"record {record} at byte {offsets[shard][record]}: ")
        assert reason in line


def test_the_padding_after_a_record(prefix):
    path = shards(prefix)[0]
    file = RecordFile(path)
    record = next(n for n in range(4) if len(file.read(n)) % 4)
    overwrite(path, [*file.offsets.tolist(), file.size][record + 1] - 1, b"\1")
    assert damage(prefix)[0].startswith(f"record {record} at byte")
    # Without checksums the digest of the whole shard still detects it.
    json = prefix.with_suffix(".json")
    shard = read_manifest(path).shards[0]
    json.write_text(json.read_text().replace(shard.crc32, ""))
    (line,) = damage(prefix)
    assert "SHA-256" in line


def test_truncated_and_missing_files(prefix):
    first, second, third = shards(prefix)
    size = Path(first).stat().st_size
    with open(first, "r+b") as file:
        file.truncate(size - 5)
    Path(second).unlink()
    Path(third[:-3] + "idx").unlink()
    length, short, missing, without = damage(prefix)
    assert str(size - 5) in length and str(size) in length
    assert short.startswith("record 2 at byte") and "end of the shard" in short
    assert "No such file" in missing and "index" in without


def test_an_index_in_another_order(prefix):
    index = Path(shards(prefix)[1][:-3] + "idx")
    good = index.read_text()
    index.write_text("".join(reversed(good.splitlines(keepends=True))))
    assert damage(prefix) == ["the lines of its index are not in the order of the records"]
    repair(open_pack(str(prefix), ""), shards(prefix)[1], 2, quiet)
    assert index.read_text() == good and damage(prefix) == []


def test_without_a_manifest_only_records_are_checked(prefix):
    paths = shards(prefix)
    prefix.with_suffix(".json").unlink()
    overwrite(paths[0], RecordFile(paths[0]).offsets[1] + 12, b"\0\0\x40\x40")
    assert verify(paths, 2, quiet).damage == {}
    overwrite(paths[0], RecordFile(paths[0]).offsets[1] + 8 + 24, b"\0\0\0\0")
    assert len(verify(paths, 2, quiet).damage) == 1


def test_a_shard_of_another_pack(prefix):
    other = prefix.parent / "x-00000-of-00009.rec"
    other.touch()
    with pytest.raises(InputError, match=r"x-00000-of-00009\.rec: .*x\.json"):
        verify([str(other)], 1, quiet)


# --- repair ------------------------------------------------------------------------------------


def break_all(prefix):
    """Damage every shard in a different way; return the intact files."""
    before = {path.name: path.read_bytes() for path in prefix.parent.glob("x*")}
    first, second, third = shards(prefix)
    overwrite(first, 100, b"damage")
    Path(second).unlink()
    Path(third[:-3] + "idx").write_text("nonsense")
    return before


def test_repaired_shards_have_the_same_bytes(prefix):
    before = break_all(prefix)
    damaged = verify(shards(prefix), 2, quiet).damage
    assert len(damaged) == 3
    pack = open_pack(str(prefix), "")
    for path in damaged:
        repair(pack, path, 2, quiet)
    assert {path.name: path.read_bytes() for path in prefix.parent.glob("x*")} == before
    assert verify(shards(prefix), 2, quiet).damage == {}


def test_changed_images(prefix):
    root = prefix.parent / "root"
    (root / "5.jpg").write_bytes((root / "6.jpg").read_bytes())
    path = shards(prefix)[1]
    overwrite(path, 100, b"damage")
    damaged = Path(path).read_bytes()
    with pytest.raises(InputError, match=r"1 of its 4 images .*5\.jpg.*x\.json"):
        repair(open_pack(str(prefix), ""), path, 2, quiet)
    assert Path(path).read_bytes() == damaged  # kept for other ways to recover data
    assert not list(prefix.parent.glob("*.repair"))


def test_changed_lists_and_missing_manifests(prefix):
    with open(f"{prefix}.lst", "a") as file:
        file.write("99\t0\t0.jpg\n")
    with pytest.raises(InputError, match=r"x\.lst: .*SHA-256"):
        open_pack(str(prefix), "")
    prefix.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"x\.json: "):
        open_pack(str(prefix), "")
