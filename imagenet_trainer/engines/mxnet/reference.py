"""Plain MXNet without this package, as benchmarks and the parity test compare with it."""

import os
import time
from typing import Any, Callable, Dict, Mapping, Tuple

import numpy as np

from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.mxnet_import import mx

# The augmentation of Inception's training, which ImageRecordIter and this package both have.
_AUGMENTATION = {
    "shuffle": True, "random_resized_crop": True, "min_random_area": 0.08, "max_random_area": 1.0,
    "min_aspect_ratio": 3 / 4, "max_aspect_ratio": 4 / 3, "rand_mirror": True,
}  # fmt: skip


def image_record_iter(rec: str, side: int, batch: int, **options: Any) -> Any:
    """MXNet's reader of a shard, with the index beside it: random resized crops, mirrored."""
    return mx.io.ImageRecordIter(
        path_imgrec=rec, path_imgidx=os.path.splitext(rec)[0] + ".idx",
        data_shape=(3, side, side), batch_size=batch, round_batch=False, verbose=False,
        **_AUGMENTATION, **options,
    )  # fmt: skip


def image_record_reader(rec: str, side: int, batch: int, threads: int) -> Callable[[], int]:
    """A function that reads the next epoch and returns its number of images."""
    iterator = image_record_iter(rec, side, batch, preprocess_threads=threads)

    def read() -> int:
        images = 0
        for read_batch in iterator:
            read_batch.data[0].wait_to_read()
            images += len(read_batch.data[0]) - read_batch.pad
        return images

    return read


def train_plainly(symbol_path: str, rec: str, batch_size: str) -> None:
    """Train two epochs as an MXNet tutorial does; print the images per second of the second."""
    # Importing this package set it; MXNet, which is imported now, chooses its threads itself.
    os.environ.pop("OMP_NUM_THREADS", None)
    batches = image_record_iter(
        rec, 224, int(batch_size), mean_r=123.68, mean_g=116.779, mean_b=103.939
    )
    module = mx.mod.Module(mx.sym.load(symbol_path))
    module.bind(batches.provide_data, batches.provide_label)
    module.init_params(mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2))
    rates = {"learning_rate": 0.01, "momentum": 0.9, "wd": 1e-4}
    module.init_optimizer(optimizer="sgd", optimizer_params=rates)
    accuracy = mx.metric.Accuracy()
    for _ in range(2):
        batches.reset()
        images, start = 0, time.perf_counter()
        for batch in batches:
            module.forward_backward(batch)
            module.update()
            module.update_metric(accuracy, batch.label)
            images += int(batch_size) - batch.pad
        mx.nd.waitall()
    print(f"images/s {images / (time.perf_counter() - start):.3f}")


def forward_backward(
    symbol: Any,
    arg: Mapping[str, np.ndarray],
    aux: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    dtype: str,
) -> Tuple[np.ndarray, Dict[str, np.ndarray], Arrays]:
    """Run one training pass in float32 or float64 on the CPU.

    `images` are (batch, 3, height, width), normalised. Returns the first output, the gradients
    by the names of `arg`, and the auxiliary states afterwards.
    """
    names = (*symbol.list_arguments(), *symbol.list_auxiliary_states())
    bound = to_symbol(symbol).simple_bind(
        mx.cpu(), data=images.shape, grad_req="write", type_dict=dict.fromkeys(names, dtype)
    )
    bound.copy_params_from(
        *({name: mx.nd.array(value, dtype=dtype) for name, value in group.items()}
          for group in (arg, aux))
    )  # fmt: skip
    data = mx.nd.array(images, dtype=dtype)
    output = bound.forward(is_train=True, data=data, softmax_label=labels)[0].asnumpy()
    bound.backward()
    mx.nd.waitall()
    gradients = {name: bound.grad_dict[name].asnumpy() for name in arg}
    return output, gradients, {name: value.asnumpy() for name, value in bound.aux_dict.items()}
