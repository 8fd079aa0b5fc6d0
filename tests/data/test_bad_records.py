"""Records that have changed since they were packed, or cannot be decoded."""

import io
import shutil
from dataclasses import replace
from zlib import crc32

import cv2
import numpy as np
import pytest
from conftest import write_records
from helpers.loading import CLASSES, COUNT, encoded, payload
from PIL import Image

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.bad_records import SKIP, STOP, USE, ZERO, Report, Tally, describe_counts
from imagenet_trainer.data.loader import Threads, Worker, evaluation_batches, training_batches
from imagenet_trainer.data.mixup import Mixup
from imagenet_trainer.data.order import Order
from imagenet_trainer.data.records.record_file import RecordError
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.records.shards import Shards
from imagenet_trainer.errors import ArgumentError, InputError

BAD = (4, 5, 30, COUNT - 1)  # two neighbours, and the last record


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Shards with the checksums of their records."""
    path = write_records(tmp_path_factory.mktemp("whole") / "a.rec", map(payload, range(COUNT)))
    with Shards([path]) as shards:
        yield with_checksums(shards)


@pytest.fixture
def damaged(whole, tmp_path):
    """The same shards with one byte changed in each record of BAD: of its image, or its label."""
    path = shutil.copy(whole.files[0].path, tmp_path / "a.rec")
    shutil.copy(whole.files[0].path.replace(".rec", ".idx"), tmp_path / "a.idx")
    with open(path, "r+b") as file:
        for number, record in enumerate(BAD):
            # The bit of the label makes 4 to 6, and 2 to 3.
            at = int(whole.files[0].offsets[record]) + (60 if number % 2 else 8 + 6)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x40]))
    with Shards([path]) as shards:
        shards.files[0].expect(whole.checksums, "repair it")
        yield shards


def with_checksums(shards):
    file = shards.files[0]
    sums = np.array([crc32(file.raw(n)) for n in range(len(file))], np.uint32)
    file.expect(sums, "repair it")
    shards.checksums = sums
    return shards


def training(shards, on_bad, threads=1, rank=0, world=1, updates=20, **more):
    transform = TrainTransform(AugmentSettings(brightness=0.3), (3, 24, 20), 3)
    order = Order(3, COUNT, 8)
    return training_batches(
        shards, order, transform, CLASSES, range(updates), Worker(rank, world), Threads(threads),
        on_bad=on_bad, **more,
    )  # fmt: skip


def content(batch):
    reports = [(one.position, one.error.record, one.action) for one in batch.reports]
    return batch.images.copy(), batch.labels.copy(), batch.indices.copy(), reports


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one[:3], other[:3])) and one[3] == other[3]


def test_a_changed_byte_of_an_image_or_a_label_stops(damaged):
    for record in BAD:
        with pytest.raises(RecordError, match=rf"record {record} at byte \d+: .*repair it"):
            damaged.record(record)
    with pytest.raises(RecordError, match="have changed"):
        for _ in training(damaged, STOP):
            pass
    with pytest.raises(RecordError, match="record 4 "):
        with evaluation_batches(damaged, EvalTransform((3, 8, 8)), CLASSES, 10) as batches:
            list(batches)


def test_the_id_of_a_record_is_its_key(whole, damaged):
    damaged.files[0].keys[7] += 1
    with pytest.raises(RecordError, match=r"record 7 .*id is 7, but 8 .*--rebuild-index"):
        damaged.record(7)


def next_good(record, subset=None):
    all_ = list(range(COUNT)) if subset is None else subset.tolist()
    at = all_.index(record) + 1
    return next(other for other in all_[at:] + all_[:at] if other not in BAD)


@pytest.mark.parametrize("mixup", [None, Mixup(0.4, 3)])
def test_skipping_trains_on_the_next_image_and_changes_no_other(whole, damaged, mixup):
    order = Order(3, COUNT, 8)
    transform = TrainTransform(AugmentSettings(brightness=0.3), (3, 24, 20), 3)
    pairs = zip(training(whole, STOP, mixup=mixup), training(damaged, SKIP, mixup=mixup))
    seen = set()
    for good, bad in pairs:
        images, epochs = order.batch(good.update)
        assert np.array_equal(bad.indices, images)
        expected = []
        for position, record in enumerate(images.tolist()):
            if record not in BAD:
                partner = images[position ^ 1] in BAD if mixup else False
                assert partner or np.array_equal(bad.images[position], good.images[position])
                assert bad.labels[position] == good.labels[position]
                continue
            seen.add(record)
            expected.append((position, record, SKIP))
            other = next_good(record)
            assert bad.labels[position] == other % CLASSES
            if not mixup:
                packed = cv2.imdecode(np.frombuffer(encoded(other), np.uint8), cv2.IMREAD_COLOR)
                out = np.empty((24, 20, 3), np.uint8)
                drawn = transform.draw(images[position, None], epochs[position, None])
                transform.apply(np.ascontiguousarray(packed[:, :, ::-1]), drawn, 0, out)
                assert np.array_equal(bad.images[position], out)
        assert content(bad)[3] == expected
    assert seen == set(BAD)


def test_skipping_depends_on_no_thread_worker_or_first_update(damaged):
    expected = [content(batch) for batch in training(damaged, SKIP)]
    for one, other in zip(expected, map(content, training(damaged, SKIP, threads=4))):
        assert equal(one, other)
    workers = [
        [content(batch) for batch in training(damaged, SKIP, 2, rank, 4)] for rank in range(4)
    ]
    for one, parts in zip(expected, zip(*workers)):
        assert all(np.array_equal(one[k], np.concatenate([p[k] for p in parts])) for k in range(3))
        shifted = [
            (at + 2 * rank, *rest) for rank, part in enumerate(parts) for at, *rest in part[3]
        ]
        assert shifted == one[3]


def test_a_substitute_is_of_the_same_subset(damaged):
    subset = np.arange(0, COUNT, 2)  # without 5
    transform = TrainTransform(AugmentSettings(), (3, 24, 20), 3)
    ordered = Order(3, len(subset), 8, subset=subset)
    with training_batches(damaged, ordered, transform, CLASSES, range(9), on_bad=SKIP) as batches:
        for batch in batches:
            for report in batch.reports:
                record = report.error.record
                assert batch.labels[report.position] == next_good(record, subset) % CLASSES


def test_zero_is_a_black_image_with_the_label_of_the_record(whole, damaged):
    reported = 0
    for good, bad in zip(training(whole, STOP), training(damaged, ZERO)):
        for report in bad.reports:
            reported += 1
            assert report.action == ZERO and not bad.images[report.position].any()
            kept = damaged.record(report.error.record, compare=False).label
            assert bad.labels[report.position] == kept
        others = np.delete(np.arange(8), [one.position for one in bad.reports])
        assert np.array_equal(bad.images[others], good.images[others])
    assert reported >= len(BAD)
    with pytest.raises(ArgumentError, match="on_bad zero: "):  # what follows would change it
        training(damaged, ZERO, encoded=True)


def test_a_label_that_cannot_be_read_stops_also_with_zero(tmp_path):
    bad = [payload(0), payload(1, label=CLASSES), payload(2)]
    for path in (
        write_records(tmp_path / "a.rec", bad),
        write_records(tmp_path / "b.rec", [*bad[::2], b"no"]),
    ):
        with Shards([path]) as shards, pytest.raises(RecordError):
            transform = EvalTransform((3, 8, 8))
            with evaluation_batches(shards, transform, CLASSES, 3, on_bad=ZERO) as batches:
                list(batches)


@pytest.mark.parametrize("threads", [1, 3])
def test_evaluation_leaves_skipped_images_out(whole, damaged, threads):
    transform = EvalTransform((3, 8, 8))
    with evaluation_batches(whole, transform, CLASSES, 10) as batches:
        good = [content(batch) for batch in batches]
    with evaluation_batches(
        damaged, transform, CLASSES, 10, Threads(threads), on_bad=SKIP
    ) as batches:
        for batch, (images, labels, indices, _) in zip(batches, good):
            usable = batch.usable
            assert usable.tolist() == [index not in BAD for index in indices]
            assert np.array_equal(batch.images[usable], images[usable])
            assert np.array_equal(batch.labels[usable], labels[usable])


def test_an_error_when_no_record_is_usable(tmp_path):
    path = write_records(tmp_path / "a.rec", [pack_header(0.0, n) + b"no image" for n in range(9)])
    with Shards([path]) as shards, pytest.raises(RecordError, match="not an image"):
        transform = TrainTransform(AugmentSettings(), (3, 8, 8), 0)
        with training_batches(
            shards, Order(0, 9, 8), transform, CLASSES, range(1), on_bad=SKIP
        ) as batches:
            next(batches)


def jpeg(**how):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", **how)
    return file.getvalue()


def test_what_the_decoder_says_has_a_record(tmp_path, capfd):
    whole = jpeg(progressive=True)
    extraneous = whole[:-2] + bytes(30) + whole[-2:]
    missing = whole[: len(whole) // 3] + whole[-2:]
    path = write_records(
        tmp_path / "a.rec",
        [pack_header(1.0, n) + image for n, image in enumerate((whole, extraneous, missing))],
    )
    with Shards([path]) as shards:
        transform = EvalTransform((3, 32, 32))
        with pytest.raises(RecordError, match=r"record 2 .*image data are missing"):
            with evaluation_batches(shards, transform, CLASSES, 3) as batches:
                list(batches)
        # A record that is as it was packed is used, whatever the decoder says.
        for trusted in (False, True):
            if trusted:
                with_checksums(shards)
            with evaluation_batches(shards, transform, CLASSES, 3, on_bad=SKIP) as batches:
                (batch,) = list(batches)
            (one, other) = batch.reports
            assert (one.action, one.error.record) == (USE, 1) and "extraneous" in one.text
            assert (other.action, other.error.record) == (USE if trusted else SKIP, 2)
    assert capfd.readouterr().err == ""


def test_the_tally_logs_the_first_and_counts_all():
    lines = []
    tally = Tally(lines.append)
    error = RecordError("a.rec", 3, 96, "damaged")
    report = Report(0, error, SKIP)
    for _ in range(30):
        tally.add(report)
    tally.add(replace(report, action=USE))
    assert len(lines) == Tally.MOST_LINES + 1 and "a.rec: record 3 at byte 96" in lines[0]
    assert tally.counts == {SKIP: 30, USE: 1}
    assert describe_counts(tally.counts) == "30 skipped, 1 damaged, but used"
    assert report.row() == {
        "action": SKIP, "shard": "a.rec", "record": 3, "offset": 96, "reason": "damaged"
    }  # fmt: skip
    assert isinstance(error, InputError)
