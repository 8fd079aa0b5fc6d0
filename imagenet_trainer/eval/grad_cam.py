"""Which parts of an image speak for a class: Grad-CAM, in every engine.

Ramprasaath R. Selvaraju, Michael Cogswell, Abhishek Das, Ramakrishna Vedantam, Devi Parikh, Dhruv
Batra: "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization",
arXiv:1610.02391, 2017. With the feature maps A of the last layer that has positions and the logit y
of a class, the map is relu(sum over k of a_k A_k), where a_k is the mean of dy / dA_k over the
positions (equations 1 and 2). Where a global pooling and one dense layer follow, it is the class
activation map of Zhou et al. 2016 without its bias.
"""

from typing import Any, Sequence

import numpy as np

from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import output_gradients
from imagenet_trainer.engines.symbol import of_network
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.inference import predict_in_batches
from imagenet_trainer.eval.network import engine_for
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.symbols.feature_maps import Split
from imagenet_trainer.system.arrays import Arrays


def class_maps(
    split: Split,
    checkpoint: Checkpoint,
    parameters: Sequence[Arrays],
    devices: Devices,
    images: np.ndarray,
    classes: Sequence[np.ndarray],
    batch: int,
) -> np.ndarray:
    """The maps of some classes for each image, float32 (classes, n, height, width), 0 or more.

    Parameters
    ----------
    split
        The network.
    checkpoint, parameters
        Its preprocessing; arguments and auxiliary states of the whole network.
    devices, batch
        Where it runs, and the number of images at a time, which the devices can divide.
    images
        uint8 (n, height, width, 3), as the network takes them.
    classes
        int64 (n,) for each map.

    """
    engine = engine_for(split.body, checkpoint, devices, batch)
    engine.set_params(parameters[0], parameters[1])
    features = np.ascontiguousarray(predict_in_batches(engine, images))
    arg, aux = of_network(split.tail, split.shape, *parameters)
    found = np.empty((len(classes), len(images), *split.shape[1:]), np.float32)
    for begin in range(0, len(images), batch):
        part = slice(begin, begin + batch)
        for number, labels in enumerate(classes):
            gradients = output_gradients(
                split.tail, devices, arg, aux, features[part], labels[part]
            )
            found[number, part] = grad_cam(features[part], gradients)
    if not np.isfinite(found).all():
        raise InputError("--explain: the gradients of the network are not finite")
    return found


def grad_cam(features: np.ndarray, gradients: Any) -> np.ndarray:
    """The map of each image, float32 (n, h, w), from features and gradients (n, c, h, w)."""
    weights = gradients.mean(axis=(2, 3), keepdims=True)
    return np.maximum((weights * features).sum(axis=1), 0)
