"""A network of six convolutions for small images, made to be trained on processors in minutes.

In the spirit of airbench: Keller Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
arXiv:2404.00498, 2024 (section 3.1). From there are the few, quickly wider layers, BatchNorms
without scale, the last max pooling, the dense layer without bias and its small factor. Different
are the first layer, which there is set to whiten the images and then kept; relu instead of GELU;
and strides instead of max pooling, with which a processor trains 1.5 times as many images per
second. So this is no network of the paper.

Learned parameters at ten classes: 1,129,312, and 864 gammas that stay 1; 28.9 million multiply-adds
at 28 pixels.
"""

import functools
from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import check_size, conv_bn_act, scaled

layer = functools.partial(conv_bn_act, kernel=3, fix_gamma=True)
# Of the logits: with 1, the network is too sure of its first guesses.
FACTOR = 0.25


def get_symbol(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes)."""
    check_size(image_shape, 8, "fast-cnn")
    x = sym.var("data")  # 3, 28, 28
    x = layer(x, "conv0", 32, kernel=4, stride=2, pad=1)  # 32, 14, 14
    x = layer(x, "conv1", 64)  # 64, 14, 14
    x = layer(x, "conv2", 128, stride=2)  # 128, 7, 7
    x = layer(x, "conv3", 128)  # 128, 7, 7
    x = layer(x, "conv4", 256, stride=2)  # 256, 4, 4
    x = layer(x, "conv5", 256)  # 256, 4, 4
    x = sym.Pooling(x, global_pool=True, pool_type="max", kernel=(1, 1), name="pool1")
    x = sym.Flatten(x, name="flatten0")  # 256
    x = sym.FullyConnected(x, num_hidden=num_classes, no_bias=True, name="fc1")
    x = scaled(x, FACTOR, "fc1_scaled")
    return sym.SoftmaxOutput(x, name="softmax")  # num_classes
