import copy
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import needs_mxnet
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_trainer import recordio
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx

MAGIC = b"\x0a\x23\xd7\xce"
RECORDS = [b"first", b"x" * 1001, MAGIC * 2 + b"tail", b"last"]
IMAGE = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


def written(folder, module=recordio):
    """A file and its index; the keys are not in order."""
    paths = str(folder / "a.idx"), str(folder / "a.rec")
    writer = module.MXIndexedRecordIO(*paths, "w")
    for key, record in zip((7, 3, 12, 5), RECORDS):
        writer.write_idx(key, record)
    writer.close()
    return paths


# --- agreement with MXNet -------------------------------------------------------------------------


@needs_mxnet
def test_files_are_those_of_mxnet(tmp_path):
    (tmp_path / "mx").mkdir()
    theirs, ours = written(tmp_path / "mx", mx.recordio), written(tmp_path)
    for one, other in zip(ours, theirs):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    reader = mx.recordio.MXIndexedRecordIO(*ours, "r")
    assert [reader.read_idx(key) for key in (12, 7)] == [RECORDS[2], RECORDS[0]]


@needs_mxnet
@settings(max_examples=30)
@given(
    st.one_of(
        st.integers(-5, 1000), st.floats(-9, 9, width=32),
        st.lists(st.floats(-9, 9, width=32), max_size=4),
    ),
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=20),
)  # fmt: skip
def test_packed_bytes_are_those_of_mxnet(label, id, id2, data):
    ours = recordio.pack(recordio.IRHeader(0, label, id, id2), data)
    assert ours == mx.recordio.pack(mx.recordio.IRHeader(0, label, id, id2), data)
    (header, rest), (expected, same) = recordio.unpack(ours), mx.recordio.unpack(ours)
    assert rest == same == data and header._fields == expected._fields
    for one, other in zip(header, expected):
        assert type(one) is type(other) and np.array_equal(one, other)
    assert repr(header) == repr(expected)


@needs_mxnet
@pytest.mark.parametrize(("quality", "form"), [(95, ".jpg"), (3, ".png"), (80, ".JPEG")])
def test_packed_images_are_those_of_mxnet(quality, form):
    header = (0, 4, 9, 0)
    packed = recordio.pack_img(header, IMAGE, quality, form)
    assert packed == mx.recordio.pack_img(header, IMAGE, quality, form)
    for flag in (-1, 0, 1):
        ours, theirs = recordio.unpack_img(packed, flag), mx.recordio.unpack_img(packed, flag)
        assert ours[0] == theirs[0]
        np.testing.assert_array_equal(ours[1], theirs[1])


# --- reading and writing --------------------------------------------------------------------------


def test_records_are_read_in_order_and_again_after_a_reset(tmp_path):
    _, path = written(tmp_path)
    with recordio.MXRecordIO(path, "r") as reader:
        assert [reader.read() for _ in range(5)] == [*RECORDS, None]
        reader.reset()
        assert reader.read() == RECORDS[0]
    with pytest.raises(ValueError, match="closed"):
        reader.read()


def test_records_are_read_by_key(tmp_path):
    reader = recordio.MXIndexedRecordIO(*written(tmp_path), "r")
    assert reader.keys == [7, 3, 12, 5] and sorted(reader.idx) == [3, 5, 7, 12]
    assert reader.read_idx(12) == RECORDS[2]
    reader.seek(3)
    assert [reader.read(), reader.read()] == RECORDS[1:3]
    with pytest.raises(KeyError):
        reader.read_idx(99)


def test_keys_of_another_type(tmp_path):
    paths = str(tmp_path / "a.idx"), str(tmp_path / "a.rec")
    with recordio.MXIndexedRecordIO(*paths, "w", key_type=str) as writer:
        writer.write_idx("cat/1.jpg", b"one")
        assert writer.tell() > 0
    assert recordio.MXIndexedRecordIO(*paths, "r", key_type=str).read_idx("cat/1.jpg") == b"one"
    with pytest.raises(ValueError, match=r"a\.idx, line 1"):
        recordio.MXIndexedRecordIO(*paths, "r")


def test_a_copy_and_a_forked_process_have_their_own_position(tmp_path):
    # DataLoader copies its dataset into processes, by fork or as bytes.
    paths = written(tmp_path)
    reader = recordio.MXIndexedRecordIO(*paths, "r")
    assert reader.read() == RECORDS[0]
    other = copy.copy(reader)
    assert other.read_idx(3) == RECORDS[1] and other.keys == reader.keys
    child = os.fork()
    if child == 0:
        os._exit(0 if reader.read_idx(5) == RECORDS[3] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.read() == RECORDS[1]
    writer = recordio.MXRecordIO(str(tmp_path / "b.rec"), "w")
    with pytest.raises(RuntimeError):
        copy.copy(writer)


def test_a_file_is_either_read_or_written(tmp_path):
    _, path = written(tmp_path)
    with pytest.raises(ValueError, match="open to read"):
        recordio.MXRecordIO(path, "r").write(b"")
    with pytest.raises(ValueError, match="open to write"):
        recordio.MXRecordIO(str(tmp_path / "b.rec"), "w").read()
    with pytest.raises(ValueError, match="flag"):
        recordio.MXRecordIO(path, "a")
    with pytest.raises(FileNotFoundError):
        recordio.MXRecordIO(str(tmp_path / "none.rec"), "r")


def test_what_is_damaged_is_an_error(tmp_path):
    _, path = written(tmp_path)
    Path(path).write_bytes(Path(path).read_bytes()[:-3])
    reader = recordio.MXRecordIO(path, "r")
    assert [reader.read() for _ in range(3)] == RECORDS[:3]
    with pytest.raises(InputError, match=r"a\.rec: the record at byte "):
        reader.read()
    with pytest.raises(ValueError, match="no header"):
        recordio.unpack(b"short")
    with pytest.raises(ValueError, match="3 labels, but 11 bytes follow"):
        recordio.unpack(recordio.pack((0, [1, 2, 3], 0, 0), b"")[:-1])
    assert recordio.unpack_img(recordio.pack((0, 1, 0, 0), b"no image"))[1] is None
    with pytest.raises(ValueError, match="encode"):
        recordio.pack_img((0, 1, 0, 0), IMAGE, img_fmt=".xyz")


def test_an_image_comes_back():
    header, image = recordio.unpack_img(recordio.pack_img((0, 4, 9, 0), IMAGE, 9, ".png"))
    assert header == (0, 4.0, 9, 0)
    assert np.array_equal(image, IMAGE)
