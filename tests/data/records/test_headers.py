import numpy as np
import pytest
from conftest import write_records

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.parts import labels_of
from imagenet_trainer.data.records import headers as module
from imagenet_trainer.data.records.headers import digest, first_bad_label, read_headers
from imagenet_trainer.data.records.record_file import RecordError, RecordFile
from imagenet_trainer.data.records.recordio import MAGIC, pack_header
from imagenet_trainer.errors import InputError


def test_the_headers_of_all_records(tmp_path):
    labels = [3.0, 1.5, [2.0], [1.0, 2.0, 3.0], -1.0]
    # A payload with the magic number is in several parts on disk.
    payloads = [pack_header(label, n) + MAGIC * n + b"image" for n, label in enumerate(labels)]
    with RecordFile(write_records(tmp_path / "a.rec", payloads)) as file:
        headers = read_headers(file)
        assert headers.raw["count"].tolist() == [0, 0, 1, 3, 0]
        assert headers.labels[[0, 1, 2, 4]].tolist() == [3.0, 1.5, 2.0, -1.0]
        assert np.isnan(headers.labels[3])  # none of them is the label
        assert headers.raw["low"].tolist() == list(range(5))
        assert headers.have_images.all()
        second = read_headers(file, 1).labels
        assert second[3] == 2.0 and np.isnan(second[[0, 1, 2, 4]]).all()


@pytest.mark.parametrize(
    ("labels", "bad"),
    [
        ([0.0, 6.0], -1), ([0.0, 7.0], 1), ([-1.0], 0), ([1.0, 0.5], 1), ([float("nan")], 0),
        ([[5.0], 1.0], -1), ([[7.0], 1.0], 0), ([1.0, [5.0, 1.0]], 1),
    ],
)  # fmt: skip
def test_the_first_label_that_is_no_class(tmp_path, labels, bad):
    payloads = [pack_header(label, n) + b"image" for n, label in enumerate(labels)]
    with RecordFile(write_records(tmp_path / "a.rec", payloads)) as file:
        assert first_bad_label(read_headers(file).labels, 7) == bad


def test_more_records_than_a_thread_reads_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 8)
    payloads = (pack_header(float(n % 5), n) for n in range(203))
    with RecordFile(write_records(tmp_path / "a.rec", payloads)) as file:
        assert np.array_equal(read_headers(file).labels, np.arange(203) % 5)


def test_a_record_that_is_too_short(tmp_path):
    path = write_records(tmp_path / "a.rec", [pack_header(1, 0), b"short", pack_header(1, 2)])
    with (
        RecordFile(path) as file,
        pytest.raises(RecordError, match=r"record 1 at byte 32: .*label"),
    ):
        read_headers(file)


def test_the_digest_covers_every_byte_of_a_small_set(tmp_path):
    payloads = [pack_header(1, n) + bytes([n]) * 9 for n in range(4)]
    path = write_records(tmp_path / "a.rec", payloads)

    def digest_now():
        with RecordFile(path) as file:
            return digest([file], [read_headers(file)])

    before = digest_now()
    assert digest_now() == before
    data = path.read_bytes()
    for at in (len(data) - 1, len(data) // 2 + 8, 40):  # padding, image, image
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert digest_now() != before


@pytest.mark.parametrize(
    ("labels", "index", "found", "reads"),
    [
        ([1.0, 0.0, 2.0], None, [1, 0, 2], 5), ([1.0, 0.0, 2.0], 0, [1, 0, 2], 5),
        ([[1.0, 7.0], [0.0, 8.0], [2.0, 9.0]], 1, [7, 8, 9], 5),
        ([[1.0, 7.0], [0.0, 8.0], 2.0], None, [1, 0, 2], 8),  # the first ones, of all
    ],
)  # fmt: skip
def test_labels_that_were_checked_are_not_read_again(
    tmp_path, monkeypatch, labels, index, found, reads
):
    payloads = [pack_header(one, n) + b"\x89PNG" * 9 for n, one in enumerate(labels)]
    payloads.insert(1, pack_header([7.0, 8.0], 3))  # has no image
    path = write_records(tmp_path / "a.rec", payloads)
    empty = write_records(tmp_path / "b.rec", [pack_header([7.0, 8.0], 0)])  # no image at all
    read, real = [], module._header
    monkeypatch.setattr(module, "_header", lambda file, n: read.append(n) or real(file, n))
    both = f"{path},{empty}"
    with open_dataset(both, "", 10, label_index=index, any_labels=True).shards as shards:
        assert labels_of(shards).tolist() == found and len(read) == reads
        assert labels_of(shards.part(np.array([0, 2]))).tolist() == found[::2]


def test_several_labels_are_read_once(tmp_path, monkeypatch):
    """Without a manifest, for the classes of all images and for how the labels are meant."""
    labels = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    payloads = [pack_header(one, n) + b"\x89PNG" * 9 for n, one in enumerate(labels)]
    payloads.insert(1, pack_header([7.0, 8.0, 9.0], 3))  # has no image
    path = write_records(tmp_path / "a.rec", payloads)
    read, real = [], module._header
    monkeypatch.setattr(module, "_header", lambda file, n: read.append(n) or real(file, n))
    dataset = open_dataset(str(path), "", None, multi_label=True)
    with dataset.shards as shards:
        assert sorted(read) == [0, 1, 2, 3] and len(dataset.classes) == 3
        assert shards.label_vectors.is_binary
        found = [shards.label_of(n, shards.record(n).labels, 3).tolist() for n in range(3)]
        assert found == labels and module.read_summary(shards).most.tolist() == [1, 1, 1]
    for classes in (2, 4):  # the numbers are not the classes 0 and 1
        with pytest.raises(InputError, match=f"3 numbers 0 and 1, .* there are {classes} classes"):
            open_dataset(str(path), "", classes, multi_label=True)
