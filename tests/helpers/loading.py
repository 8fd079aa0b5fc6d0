"""A shard of random images, and a check that no thread of a loader is left after a test."""

import threading

import cv2
import numpy as np
import pytest

from imagenet_trainer.data.records.recordio import pack_header

COUNT, CLASSES = 53, 7


def encoded(number):
    random = np.random.default_rng(number)
    height, width = random.integers(20, 60, 2)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def payload(number, label=None):
    return pack_header(float(number % CLASSES if label is None else label), number) + encoded(
        number
    )


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert loader_threads() == []
