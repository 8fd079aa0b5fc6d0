"""AlexNet, on one device.

Alex Krizhevsky: "One weird trick for parallelizing convolutional neural networks",
arXiv:1404.5997, 2014: the network of Alex Krizhevsky, Ilya Sutskever, Geoffrey E. Hinton:
"ImageNet Classification with Deep Convolutional Neural Networks", 2012, not split in two.

Computes the same as Gluon's and GluonCV's network; torchvision's has the same layers. Different
from the papers: no local response normalisation; the size of the first dense layer follows from
the image size, from 63 pixels.
"""

from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    check_size,
    classifier,
    convolution,
    dense,
    max_pool,
    relu,
)


def get_symbol(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes); shapes are for 224 pixels."""
    check_size(image_shape, 63, "AlexNet")
    x = sym.var("data")  # 3, 224, 224
    x = relu(convolution(x, "conv1", 64, 11, stride=4, pad=2, bias=True), "relu1")  # 64, 55, 55
    x = max_pool(x, "pool1", 3, 2)  # 64, 27, 27
    x = relu(convolution(x, "conv2", 192, 5, bias=True), "relu2")  # 192, 27, 27
    x = max_pool(x, "pool2", 3, 2)  # 192, 13, 13
    x = relu(convolution(x, "conv3", 384, 3, bias=True), "relu3")  # 384, 13, 13
    x = relu(convolution(x, "conv4", 256, 3, bias=True), "relu4")  # 256, 13, 13
    x = relu(convolution(x, "conv5", 256, 3, bias=True), "relu5")  # 256, 13, 13
    x = max_pool(x, "pool5", 3, 2)  # 256, 6, 6
    for number in (6, 7):
        x = relu(dense(x, f"fc{number}", 4096), f"relu{number}")  # 4096
        x = sym.Dropout(x, p=0.5, name=f"drop{number}")
    return classifier(x, num_classes, "fc8")  # num_classes
