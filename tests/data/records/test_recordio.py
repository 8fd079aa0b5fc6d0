import struct

import pytest
from conftest import needs_mxnet, payloads_of, write_records
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagenet_trainer.data.records.record_file import RecordError, RecordFile
from imagenet_trainer.data.records.recordio import MAGIC, pack_header, unpack
from imagenet_trainer.system.mxnet_import import mx

# Payloads that are full of the magic number, aligned or not.
payloads = st.lists(
    st.sampled_from([MAGIC, MAGIC[:2], b"\0", b"x", MAGIC[::-1]]) | st.binary(max_size=9),
    max_size=12,
).map(b"".join)
# The examples share tmp_path; each writes its files again.
examples = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@needs_mxnet
@examples
@given(st.lists(payloads, min_size=1, max_size=5))
def test_writes_the_bytes_that_mxnet_writes(tmp_path, records):
    ours = write_records(tmp_path / "ours.rec", records)
    theirs = tmp_path / "theirs.rec"
    writer = mx.recordio.MXIndexedRecordIO(str(theirs.with_suffix(".idx")), str(theirs), "w")
    for key, record in enumerate(records):
        writer.write_idx(key, record)
    writer.close()
    assert ours.read_bytes() == theirs.read_bytes()
    assert ours.with_suffix(".idx").read_bytes() == theirs.with_suffix(".idx").read_bytes()


@examples
@given(st.lists(payloads, min_size=1, max_size=5))
def test_round_trip(tmp_path, records):
    with RecordFile(write_records(tmp_path / "a.rec", records)) as file:
        assert [bytes(file.read(n)) for n in range(len(file))] == records


@needs_mxnet
def test_mxnet_reads_what_we_write(tmp_path):
    records = [pack_header(2.0, 7) + MAGIC * 3, pack_header([1.0, 2.5], 9) + b"image"]
    path = write_records(tmp_path / "a.rec", records, keys=[7, 9])
    reader = mx.recordio.MXIndexedRecordIO(str(path.with_suffix(".idx")), str(path), "r")
    header, image = mx.recordio.unpack(reader.read_idx(7))
    assert (header.label, header.id, image) == (2.0, 7, MAGIC * 3)
    header, image = mx.recordio.unpack(reader.read_idx(9))
    assert (header.label.tolist(), header.id, image) == ([1.0, 2.5], 9, b"image")


@needs_mxnet
@pytest.mark.parametrize("label", [3.0, [4.0], [1.0, -2.0, 0.5]])
def test_headers_are_those_of_mxnet(label):
    theirs = mx.recordio.pack(mx.recordio.IRHeader(0, label, 5, 0), b"data")
    assert pack_header(label, 5) + b"data" == theirs
    record = unpack(theirs)
    assert record.labels == (tuple(label) if isinstance(label, list) else (label,))
    assert (record.label, record.id, record.image) == (record.labels[0], 5, b"data")


def test_upper_half_of_an_id():
    assert unpack(struct.pack("<IfQQ", 0, 0.0, 3, 1)).id == 2**64 + 3


@pytest.mark.parametrize(
    "payload",
    [b"", b"x" * 23, struct.pack("<IfQQ", 2, 0, 0, 0) + b"1234"],
    ids=["empty", "part of a header", "labels missing"],
)
def test_a_payload_that_is_too_short(payload, tmp_path):
    with pytest.raises(ValueError, match=f"{len(payload)} bytes"):
        unpack(payload)
    file = RecordFile(write_records(tmp_path / "a.rec", [payloads_of(1)[0], payload]))
    with pytest.raises(RecordError, match=r"a\.rec: record 1 at byte 52: "):
        file.record(1)
