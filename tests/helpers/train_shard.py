"""A worker of test_launch.py: some updates of a network without BatchNorm on a packed shard.

python train_shard.py KV_STORE REC FIRST LAST BEFORE.npz AFTER.npz [CPUS THRESHOLD]

BEFORE may be missing. With a threshold gradients are compressed.
"""

import sys
from pathlib import Path

import numpy as np

from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.loader import Worker, training_batches
from imagenet_trainer.data.order import Order
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import join_workers, open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import sym

BATCH, SIDE = 12, 16


def network():
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=8, name="conv")
    x = sym.Activation(x, act_type="relu", name="relu")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=3, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def train(kv_store, rec, first, last, before, after, cpus=1, threshold=None):
    """Updates first to last - 1; parameters and state go from one file to the other."""
    settings = FitSettings(image_shape=(3, SIDE, SIDE), random_resized_crop=False)
    images = open_dataset(rec, "", 3)
    order = Order(0, len(images), BATCH)
    transform = TrainTransform(settings, settings.image_shape, 0)
    symbol = network()
    devices = Devices(
        cpus=int(cpus), kv_store=kv_store, compression_threshold=threshold and float(threshold)
    )
    workers = join_workers(devices)
    monitor = 0 if kv_store == "dist_async" else 2  # its workers report their own parts
    engine = open_engine(
        symbol, devices, (BATCH, SIDE, SIDE, 3), (120.0,) * 3, (60.0,) * 3,
        Training(Optimizer("sgd", 0.9, 1e-3), monitor=monitor), workers,
    )  # fmt: skip
    random = np.random.default_rng(0)
    shapes = parameter_shapes(symbol, settings.image_shape)[0]
    start = {name: random.normal(0, 0.05, s).astype(np.float32) for name, s in shapes.items()}
    held = dict(np.load(before)) if Path(before).is_file() else {}
    engine.set_params({name: held.get(name, value) for name, value in start.items()}, {})
    if held:
        engine.set_state({name[6:]: v for name, v in held.items() if name.startswith("state/")})
    losses = []
    with training_batches(
        images.shards, order, transform, 3, range(int(first), int(last)),
        Worker(engine.rank, engine.world_size),
    ) as batches:  # fmt: skip
        for batch in batches:
            engine.train_batch(batch.images, batch.labels, 0.05)
            losses.append(engine.read_counts())
    arg, _ = engine.get_params()
    state = {f"state/{name}": value for name, value in engine.get_state().items()}
    last = dict(engine.read_statistics()[-1][1]) if monitor else {}
    names = ("data", "conv_output", "fc_output", "softmax_output", "fc_weight", "fc_bias_grad")
    seen = {f"seen/{name}": last[name] for name in names if monitor}
    if engine.rank == 0:
        np.savez(after, counts=np.array(losses), **arg, **state, **seen)
    workers.part()


if __name__ == "__main__":
    train(*sys.argv[1:])
