import contextlib

import cv2
import numpy as np
import pytest
from conftest import draw_shape

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.loader import Threads, evaluation_batches, loader_threads
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines import Devices
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import validation
from imagenet_trainer.eval.network import load_trained, open_network
from imagenet_trainer.eval.validation import predict_batches
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.machine import processors

HOW = Preprocessing((3, 20, 20), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0)


class MeanGreen:
    """Predictions with two numbers of each image."""

    batch_size = 4

    def predict(self, images):
        return np.stack([images[..., 1].mean(axis=(1, 2)), images[:, 0, 0, 0]], axis=1)


@pytest.fixture
def shard(tmp_path):
    """Ten images with labels 0 to 9."""
    images = [draw_shape("cross", number) for number in range(10)]
    with RecordWriter(tmp_path / "val.rec", tmp_path / "val.idx") as writer:
        for number, image in enumerate(images):
            data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            writer.write(number, pack_header(number, number) + data)
    return open_dataset(str(tmp_path / "val.rec"), "", 10), images


def test_every_image_is_predicted_once_in_shard_order(shard):
    packed, images = shard
    parts = [
        (p.copy(), labels.copy())
        for p, labels in predict_batches(MeanGreen(), packed, HOW, Threads(2))
    ]
    assert [len(labels) for _, labels in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in parts]), np.arange(10))
    wanted = MeanGreen().predict(np.array(images))
    np.testing.assert_array_equal(np.concatenate([p for p, _ in parts]), wanted)


def test_a_missing_image_is_an_error(shard, monkeypatch):
    @contextlib.contextmanager
    def one_batch_less(*words, **more):
        with evaluation_batches(*words, **more) as batches:
            yield (batch for batch in batches if len(batch.labels) == 4)

    monkeypatch.setattr(validation, "evaluation_batches", one_batch_less)
    with pytest.raises(InputError, match=r"val.rec: 8 images .* 10"):
        list(predict_batches(MeanGreen(), shard[0], HOW, Threads()))


def test_predictions_that_are_not_finite_are_an_error(shard):
    class Broken(MeanGreen):
        def predict(self, images):
            return np.full((len(images), 2), np.nan)

    with pytest.raises(InputError, match="not finite"):
        list(predict_batches(Broken(), shard[0], HOW, Threads()))


def test_loader_threads():
    assert loader_threads(0, gpus=False) == Threads(1, 19)
    assert loader_threads(5, gpus=False) == Threads(5, 19)
    assert loader_threads(0, gpus=True) == Threads(max(1, min(16, processors() - 1)))
    assert loader_threads(5, gpus=True) == Threads(5)


def test_a_run_without_a_network(tmp_path):
    model = Run(str(tmp_path / "model"))
    with pytest.raises(InputError, match=r"model-symbol.json: .*train first"):
        open_network(model, None, Devices(), 4)
    model.write_symbol('{"nodes": []}')
    with pytest.raises(InputError, match=r"model-0002.params: no such checkpoint"):
        load_trained(model, 2)
