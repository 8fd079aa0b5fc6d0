"""Plug-ins of imagenet-trainer: one of each kind. docs/plugins.md explains them."""

import dataclasses
import time

from imagenet_trainer.engines import factory
from imagenet_trainer.graph import sym


def get_symbol(num_classes, image_shape=(3, 32, 32), num_layers=2):
    """A network: convolutions, each with half the height and width of the one before.

    `data` is float32 (batch, *image_shape); the result is a SoftmaxOutput of `num_classes`.
    """
    x = sym.Variable("data")
    for number in range(num_layers):
        filters = 16 << number
        x = sym.Convolution(
            x, num_filter=filters, kernel=(3, 3), stride=(2, 2), pad=(1, 1), name=f"conv{number}"
        )
        x = sym.Activation(x, act_type="relu", name=f"relu{number}")
    x = sym.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg", name="pool")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=num_classes, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def cutout(image, numbers, fill):
    """An augmentation: fill a square of a third of the height (DeVries and Taylor 2017).

    `image` is uint8 RGB (height, width, 3) and is changed in place; `numbers` are 16 random numbers
    from 0 to below 1, which depend on the seed, the epoch and the image only.
    """
    height, width, _ = image.shape
    side = height // 3
    top, left = int(numbers[0] * height) - side // 2, int(numbers[1] * width) - side // 2
    image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = fill


def observe(folder):
    """An observer: write a line for each epoch to epochs.txt in the run's folder.

    It returns a function that is called with each event, as events.jsonl has it.
    """

    def on_event(event):
        if event["event"] == "epoch":
            with open(folder / "epochs.txt", "a", encoding="utf-8") as file:
                file.write(f"epoch {event['epoch']}: loss {event['train_loss']:.3f}\n")

    return on_event


class Timed:
    """An engine: one of the others, with the seconds that its updates took."""

    def __init__(self, engine):
        self._engine, self.seconds = engine, 0.0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def train_batch(self, *batch):
        """As Engine.train_batch."""
        began = time.perf_counter()
        self._engine.train_batch(*batch)
        self.seconds += time.perf_counter() - began


def open_engine(symbol, devices, batch_shape, mean, std, training, bgr):
    """Open the engine; the arguments are those of `factory.open_engine`."""
    devices = dataclasses.replace(devices, engine="auto")
    return Timed(factory.open_engine(symbol, devices, batch_shape, mean, std, training, bgr=bgr))
