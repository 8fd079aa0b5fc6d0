import cv2
import numpy as np
import pytest
from conftest import draw_shape

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.loader import Threads
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.data.views import CENTRE, Views, ViewTransform
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import inference
from imagenet_trainer.eval.inference import (
    ViewBatches,
    predict_dataset,
    predict_views,
    share_of_batch,
)

N, SIDE, CLASSES = 23, 12, 7


class Linear:
    """Probabilities from the pixels; records the batch sizes."""

    def __init__(self, batch_size=4):
        self.batch_size, self.batches = batch_size, []
        rng = np.random.default_rng(0)
        self.weights = rng.normal(size=(SIDE * SIDE * 3, CLASSES)) / 3000

    def predict(self, images):
        assert len(images) <= self.batch_size and images.shape[1:] == (SIDE, SIDE, 3)
        self.batches.append(len(images))
        logits = images.reshape(len(images), -1).astype(np.float64) @ self.weights
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Two shards with 23 images of 20 pixels, whose keys are not their positions."""
    folder, paths = tmp_path_factory.mktemp("shards"), []
    for shard, numbers in enumerate((range(11), range(11, N))):
        paths.append(str(folder / f"val-{shard}.rec"))
        with RecordWriter(paths[-1], paths[-1][:-3] + "idx") as writer:
            for number in numbers:
                data = cv2.imencode(".png", draw_shape("cross", number, 20)[..., ::-1])[1]
                header = pack_header(number * number % CLASSES, number)
                writer.write(500 - 7 * number, header + data.tobytes())
    return open_dataset(",".join(paths), "", CLASSES)


def batches_of(packed, views=CENTRE, batch=4, threads=1, keep=False):
    return ViewBatches(
        packed, ViewTransform((3, SIDE, SIDE), 16, views), batch, Threads(threads), keep=keep
    )


@pytest.fixture(scope="module")
def wanted(packed):
    return predict_dataset(Linear(N), batches_of(packed, batch=N), 5)


@pytest.mark.parametrize("batch", [1, 4, 22, 23, 64])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_batch_size_does_not_matter(packed, wanted, batch, threads):
    found = predict_dataset(Linear(batch), batches_of(packed, batch=batch, threads=threads), 5)
    for name in ("keys", "labels", "top", "probabilities", "true", "rank"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(found.keys, 500 - 7 * np.arange(N))
    np.testing.assert_array_equal(found.labels, np.arange(N) ** 2 % CLASSES)


def test_several_passes_decode_once(packed, wanted, monkeypatch):
    batches, passes, real = batches_of(packed, keep=True), [], inference.evaluation_batches

    def counted(*words, **more):
        passes.append(1)
        return real(*words, **more)

    monkeypatch.setattr(inference, "evaluation_batches", counted)
    for _ in range(3):
        found = predict_dataset(Linear(), batches, 5)
        np.testing.assert_array_equal(found.probabilities, wanted.probabilities)
        np.testing.assert_array_equal(found.labels, wanted.labels)
    assert len(passes) == 1 and batches.size == N * SIDE * SIDE * 3
    again = batches_of(packed)
    for _ in range(2):
        predict_dataset(Linear(), again, 5)
    assert len(passes) == 3


def test_an_incomplete_pass_is_not_kept(packed):
    batches = batches_of(packed, keep=True)
    for _ in batches:
        break
    assert sum(len(labels) for _, _, labels in batches) == N
    assert sum(len(labels) for _, _, labels in batches) == N


@pytest.mark.parametrize("views", [Views(flip=True), Views(10)])
@pytest.mark.parametrize("batch", [2, 3, 5, 64])
def test_predictions_for_views_are_averaged(packed, views, batch):
    engine = Linear(batch)
    for positions, images, _ in batches_of(packed, views, batch=6):
        found = predict_views(engine, images, views)
        crops = images.reshape(len(positions), views.positions, SIDE, SIDE, 3)
        both = np.concatenate([crops, crops[:, :, :, ::-1]], axis=1)
        big = Linear(1000)
        by_hand = [big.predict(one).astype(np.float64).mean(axis=0) for one in both]
        np.testing.assert_allclose(found, by_hand, rtol=1e-6)
        assert found.dtype == np.float32
    assert sum(engine.batches) == N * 2 * views.positions


def test_the_sink_receives_all_probabilities_in_order(packed):
    class Kept:
        def __init__(self):
            self.parts = []

        def add(self, *part):
            self.parts.append(part)

    sink, counts = Kept(), []
    predictions = predict_dataset(Linear(), batches_of(packed), 5, "key", sink, counts.append)
    positions, p, labels = (np.concatenate(parts) for parts in zip(*sink.parts))
    np.testing.assert_array_equal(positions, np.arange(N))
    np.testing.assert_array_equal(labels, predictions.labels)
    np.testing.assert_array_equal(p[np.arange(N), labels], predictions.true)
    assert sum(counts) == N and predictions.key == "key"


def test_missing_and_repeated_images(packed):
    class Short(ViewBatches):
        def __iter__(self):
            yield from list(super().__iter__())[:-1]

    class Twice(ViewBatches):
        def __iter__(self):
            parts = [tuple(array.copy() for array in part) for part in super().__iter__()]
            yield from [*parts, parts[0]]

    for kind, count in ((Short, 20), (Twice, 27)):
        batches = kind(packed, ViewTransform((3, SIDE, SIDE), 16), 4)
        with pytest.raises(InputError, match=f"{count} images .* 23"):
            predict_dataset(Linear(), batches, 5)


def test_predictions_that_are_not_finite(packed):
    class Broken(Linear):
        def predict(self, images):
            return np.full((len(images), CLASSES), np.nan, np.float32)

    with pytest.raises(InputError, match="not finite"):
        predict_dataset(Broken(), batches_of(packed), 5)


def test_an_error_of_the_device_is_raised(packed):
    class Lost(Linear):
        def predict(self, images):
            raise RuntimeError("the device is gone")

    with pytest.raises(RuntimeError, match="the device is gone"):
        predict_dataset(Lost(), batches_of(packed), 5)


@pytest.mark.parametrize(
    ("batch", "views", "devices", "wanted"),
    [(64, Views(), 1, (64, 64)), (64, Views(), 3, (64, 64)), (64, Views(10), 1, (12, 60)),
     (64, Views(10), 4, (12, 60)), (64, Views(10), 8, (16, 80)), (2, Views(10), 2, (2, 10))],
)  # fmt: skip
def test_share_of_batch(batch, views, devices, wanted):
    assert share_of_batch(batch, views, devices) == wanted
