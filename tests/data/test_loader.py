import gc
import hashlib
import itertools
import os
import sys
import threading
import time

import cv2
import numpy as np
import pytest
from conftest import write_records
from helpers.loading import CLASSES, COUNT, encoded, loader_threads, payload

from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import EvalTransform, TrainTransform
from imagenet_trainer.data.loader import Threads, Worker, evaluation_batches, training_batches
from imagenet_trainer.data.order import Order, permutation
from imagenet_trainer.data.records.record_file import RecordError
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.records.shards import Shards

SETTINGS = AugmentSettings(brightness=0.3, pca_noise=0.1, max_random_h=10)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    first = write_records(folder / "a.rec", map(payload, range(30)))
    second = write_records(folder / "b.rec", map(payload, range(30, COUNT)))
    with Shards([first, second]) as opened:
        yield opened


def training(
    shards, first=0, last=20, batch=8, settings=SETTINGS, rank=0, world=1, threads=1, **options
):
    transform, order = TrainTransform(settings, (3, 24, 20), 3), Order(3, len(shards), batch)
    return training_batches(
        shards, order, transform, CLASSES, range(first, last), Worker(rank, world),
        Threads(threads, **options),
    )  # fmt: skip


def content(batch):
    return batch.update, batch.images.copy(), batch.labels.copy(), batch.indices.copy()


def digests(loader):
    """A hash of every batch, by update."""
    with loader:
        return {
            update: hashlib.sha256(b"".join(map(np.ndarray.tobytes, arrays))).hexdigest()
            for update, *arrays in map(content, loader)
        }


def test_batches_are_made_in_the_memory_that_the_consumer_gives(shards):
    given = []

    def memory(shape):
        given.append(np.empty(shape, np.uint8))
        return given[-1]

    plain = digests(training(shards))
    with training(shards, memory=memory, prefetch=2, threads=2) as loader:
        assert [one.shape for one in given] == [(8, 24, 20, 3)] * 3
        for batch in loader:
            assert any(np.shares_memory(batch.images, one) for one in given)
    assert len(given) == 3  # reused
    assert digests(training(shards, memory=memory)) == plain


# --- what is in the batches --------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream(shards):
    """Digests of the training batches, made without threads, one image after another."""
    order, transform = Order(3, COUNT, 8), TrainTransform(SETTINGS, (3, 24, 20), 3)
    result = {}
    for update in range(20):
        indices, epochs = order.batch(update)
        images = np.empty((8, 24, 20, 3), np.uint8)
        for i, (index, epoch) in enumerate(zip(indices, epochs)):
            image = cv2.imdecode(np.frombuffer(encoded(index), np.uint8), cv2.IMREAD_COLOR)
            drawn = transform.draw(np.array([index]), np.array([epoch]))
            transform.apply(np.ascontiguousarray(image[:, :, ::-1]), drawn, 0, images[i])
        arrays = images, indices % CLASSES, indices
        digest = hashlib.sha256(b"".join(map(np.ndarray.tobytes, arrays))).hexdigest()
        result[update] = digest
    return result


@pytest.mark.parametrize("threads, prefetch", [(1, 3), (2, 3), (5, 3), (3, 1), (3, 10)])
def test_batches_do_not_depend_on_threads_or_prefetch(shards, stream, threads, prefetch):
    assert digests(training(shards, threads=threads, prefetch=prefetch)) == stream


@pytest.mark.parametrize("first", [1, 6, 7, 19])
def test_batches_can_begin_at_any_update(shards, stream, first):
    expected = {update: digest for update, digest in stream.items() if update >= first}
    assert digests(training(shards, first, threads=2)) == expected


def test_four_workers_make_the_batches_of_one(shards, stream):
    workers = [
        [content(batch) for batch in training(shards, threads=2, rank=rank, world=4)]
        for rank in range(4)
    ]
    for parts in zip(*workers):
        update = parts[0][0]
        arrays = [np.concatenate([part[field] for part in parts]) for field in (1, 2, 3)]
        digest = hashlib.sha256(b"".join(map(np.ndarray.tobytes, arrays))).hexdigest()
        assert digest == stream[update]


@pytest.mark.parametrize("batch_size", [1, 8, 53, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_evaluation_has_every_image_once_in_order(shards, batch_size, threads):
    transform = EvalTransform((3, 18, 18))
    with evaluation_batches(shards, transform, CLASSES, batch_size, Threads(threads)) as loader:
        batches = [content(batch) for batch in loader]
    updates, images, labels, indices = zip(*batches)
    assert updates == tuple(range(-(-COUNT // batch_size)))
    assert [len(part) for part in images[:-1]] == [batch_size] * (len(images) - 1)
    assert np.array_equal(np.concatenate(indices), np.arange(COUNT))
    assert np.array_equal(np.concatenate(labels), np.arange(COUNT) % CLASSES)
    expected = np.empty((18, 18, 3), np.uint8)
    for index, image in enumerate(np.concatenate(images)):
        packed = cv2.imdecode(np.frombuffer(encoded(index), np.uint8), cv2.IMREAD_COLOR)
        transform.apply(packed[:, :, ::-1], None, 0, expected)
        assert np.array_equal(image, expected)


def test_an_empty_range_of_updates(shards):
    assert digests(training(shards, 5, 5)) == {}


def test_buffers_are_reused(shards):
    with training(shards, 0, 60, threads=2, prefetch=2) as loader:
        addresses = [batch.images.ctypes.data for batch in loader]
    assert len(addresses) == 60
    assert len(set(addresses)) == 3
    assert addresses[:30] == addresses[30:]


def test_a_batch_is_valid_until_the_next_is_requested(shards, stream):
    with training(shards, threads=4, prefetch=1) as loader:
        batch = next(loader)
        before = batch.images.copy()
        time.sleep(0.2)  # long enough for a thread to overwrite it
        assert np.array_equal(batch.images, before)


# --- reading ahead -----------------------------------------------------------------------------


@pytest.fixture
def requests(shards, monkeypatch):
    """The images requested from the disk, a list of lists."""
    calls = []
    monkeypatch.setattr(shards, "will_need", lambda records: calls.append(records.tolist()))
    return calls


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("threads", [1, 3])
def test_coming_batches_are_requested(shards, requests, threads):
    order = Order(3, COUNT, 8)
    with training(shards, 2, 9, threads=threads, prefetch=2) as loader:
        assert sum(1 for _ in loader) == 7
    coming = [sorted(order.batch(update)[0].tolist()) for update in range(2, 11)]
    if threads == 1:  # several may call in any order
        assert flat(requests) == sorted(flat(coming[:3])) + flat(coming[3:])
    assert sorted(flat(requests)) == sorted(flat(coming))


def test_a_window_is_requested_before_it_begins(shards, requests):
    order, transform = Order(3, COUNT, 8, 16), TrainTransform(SETTINGS, (3, 24, 20), 3)
    with training_batches(
        shards, order, transform, CLASSES, range(6), threads=Threads(prefetch=1)
    ) as loader:
        assert sum(1 for _ in loader) == 6
    # The windows that begin by position 6 * 8 + 16: four of the first epoch, two of the second.
    epochs = [permutation(3, epoch, COUNT, 16) for epoch in (0, 1)]
    windows = [epochs[0][first : first + 16] for first in (0, 16, 32, 48)] + [epochs[1][:16]]
    assert flat(requests)[:32] == sorted(windows[0].tolist() + windows[1].tolist())
    assert flat(requests)[32:48] == sorted(windows[2].tolist())
    assert sorted(flat(requests)) == sorted(np.concatenate(windows).tolist())


def test_evaluation_requests_coming_batches(shards, requests):
    with evaluation_batches(
        shards, EvalTransform((3, 8, 8)), CLASSES, 10, Threads(prefetch=2)
    ) as loader:
        assert sum(1 for _ in loader) == 6
    assert flat(requests) == list(range(COUNT))


@pytest.mark.parametrize("window", [5, 16, 40])
def test_batches_of_windows_do_not_depend_on_threads_or_the_first_update(shards, window):
    def stream(first, threads):
        order, transform = Order(3, COUNT, 8, window), TrainTransform(SETTINGS, (3, 24, 20), 3)
        return digests(
            training_batches(
                shards, order, transform, CLASSES, range(first, 20), threads=Threads(threads)
            )
        )

    whole = stream(0, 1)
    assert stream(0, 3) == whole
    assert stream(11, 2) == {update: whole[update] for update in range(11, 20)}


# --- threads end -------------------------------------------------------------------------------


def test_threads_end_with_the_last_batch(shards):
    loader = training(shards, threads=3)
    assert len(loader_threads()) == 3
    assert sum(1 for _ in loader) == 20
    assert loader_threads() == []
    with pytest.raises(StopIteration):
        next(loader)


def test_threads_end_when_the_consumer_stops(shards):
    with training(shards, 0, 10**9, threads=3) as loader:
        for batch in loader:
            if batch.update == 2:
                break
        assert len(loader_threads()) == 3
    assert loader_threads() == []
    with pytest.raises(StopIteration):
        next(loader)


def test_threads_end_when_the_loader_is_deleted(shards):
    loader = training(shards, 0, 10**9, threads=3)
    next(loader)
    del loader
    gc.collect()
    assert loader_threads() == []


def test_closing_twice_before_the_first_batch(shards):
    loader = training(shards, threads=3)
    loader.close()
    loader.close()
    assert loader_threads() == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a niceness for each thread")
def test_niceness_of_threads(shards):
    here = os.getpriority(os.PRIO_PROCESS, 0)
    with training(shards, 0, 10**9, threads=2, nice=5) as loader:
        next(loader)
        next(loader)
        busy = {os.getpriority(os.PRIO_PROCESS, thread.native_id) for thread in loader_threads()}
        assert min(here + 5, 19) in busy
        assert os.getpriority(os.PRIO_PROCESS, threading.main_thread().native_id) == here


# --- errors ------------------------------------------------------------------------------------

NAN, HALF = float("nan"), 2.5


@pytest.mark.parametrize(
    "bad, message",
    [
        pytest.param(
            pack_header(1.0, 5) + b"not an image", "pack the set again", id="not an image"
        ),
        pytest.param(pack_header(1.0, 5), "pack the set again", id="empty"),
        pytest.param(payload(5, label=CLASSES), "label 7 .* 0 to 6; correct", id="label 7"),
        pytest.param(payload(5, label=-1), "label -1 ", id="label -1"),
        pytest.param(payload(5, label=HALF), r"label 2\.5 ", id="label 2.5"),
        pytest.param(payload(5, label=NAN), "label nan ", id="label nan"),
        pytest.param(pack_header([1.0, 2.0], 5) + encoded(5), "2 labels", id="2 labels"),
        pytest.param(b"short", "5 bytes", id="short"),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_bad_record_reaches_the_consumer(tmp_path, bad, message, threads):
    good = write_records(tmp_path / "good.rec", map(payload, range(5)))
    path = write_records(tmp_path / "bad.rec", [payload(0), bad, payload(2)])
    with Shards([good, path]) as shards:
        offset = int(shards.files[1].offsets[1])
        expected = rf"bad\.rec: record 1 at byte {offset}: .*{message}"
        with pytest.raises(RecordError, match=expected) as caught:
            for _ in training(shards, 0, 100, batch=4, threads=threads):
                pass
        assert len(str(caught.value).splitlines()) == 1
        assert loader_threads() == []
        with (
            pytest.raises(RecordError, match=expected),
            evaluation_batches(
                shards, EvalTransform((3, 8, 8)), CLASSES, 3, Threads(threads)
            ) as loader,
        ):
            list(loader)


def test_a_list_of_one_label_is_a_label(tmp_path):
    path = write_records(
        tmp_path / "listed.rec", [pack_header([4.0], n) + encoded(n) for n in range(3)]
    )
    with Shards([path]) as shards, training(shards, 0, 1, batch=3) as loader:
        assert next(loader).labels.tolist() == [4, 4, 4]
