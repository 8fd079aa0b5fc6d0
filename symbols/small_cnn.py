"""Three small networks for cats and dogs, and for CIFAR.

They come from widely used Keras courses, without a paper. Layers and numbers of parameters are
the same as there:
- `one-stage-cnn`, two classes of 64-pixel images: 4,195,457 parameters;
- `six-stage-cnn`, two classes of 64-pixel images: 6,305,401 parameters, the number that six
  convolutions, each followed by a pooling, down to one pixel and one output have;
- `cifar-cnn`, ten classes of 32-pixel images: about two million (2,261,834 learned here).

Convolutions are 3x3, keep the size, and have a bias and a relu; poolings are 2x2. With two classes
the first two networks end in one logit (`layers.sigmoid_classifier`).
"""

from typing import Tuple

from imagenet_trainer.graph import sym
from imagenet_trainer.symbols.layers import (
    batch_norm,
    check_size,
    classifier,
    convolution,
    dense,
    max_pool,
    mean_of_planes,
    relu,
    sigmoid_classifier,
)


def get_symbol(num_classes: int, image_shape: Tuple[int, ...], kind: str) -> sym.Symbol:
    """(batch, *image_shape) to (batch, num_classes)."""
    builders = {"one-stage": one_stage, "six-stage": six_stage, "cifar": cifar}
    return builders[kind](num_classes, image_shape)


def one_stage(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """Convolution, pooling, two dense layers; shapes are for 64 pixels."""
    check_size(image_shape, 2, "one-stage-cnn")
    x = sym.var("data")  # 3, 64, 64
    x = layer(x, "conv1", 32)  # 32, 64, 64
    x = max_pool(x, "pool1", 2, 2)  # 32, 32, 32
    x = relu(dense(x, "fc1", 128), "relu_fc1")  # 128
    x = sym.Dropout(x, p=0.5, name="drop1")
    return sigmoid_classifier(x, num_classes, "fc2")  # num_classes


def six_stage(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """Six convolutions of 100, 200, ... 600 filters; shapes are for 64 pixels."""
    check_size(image_shape, 64, "six-stage-cnn")
    x = sym.var("data")  # 3, 64, 64
    # 100, 32, 32 then 200, 16, 16 then 300, 8, 8 then 400, 4, 4 then 500, 2, 2 then 600, 1, 1
    for stage in range(1, 7):
        x = layer(x, f"conv{stage}", 100 * stage)
        x = max_pool(x, f"pool{stage}", 2, 2)
    return sigmoid_classifier(mean_of_planes(x, "global_pool"), num_classes, "fc1")  # num_classes


def cifar(num_classes: int, image_shape: Tuple[int, ...]) -> sym.Symbol:
    """Four convolutions, three dense layers; shapes are for 32 pixels."""
    check_size(image_shape, 4, "cifar-cnn")
    x = sym.var("data")  # 3, 32, 32
    x = layer(x, "conv1", 32)  # 32, 32, 32
    x = sym.Dropout(x, p=0.2, name="drop1")
    x = batch_norm(x, "bn1")
    x = layer(x, "conv2", 64)  # 64, 32, 32
    x = max_pool(x, "pool2", 2, 2)  # 64, 16, 16
    x = layer(x, "conv3", 64)  # 64, 16, 16
    x = max_pool(x, "pool3", 2, 2)  # 64, 8, 8
    x = layer(x, "conv4", 128)  # 128, 8, 8
    # After every update the engine limits the norm of each unit's incoming weights to 3
    # (Srivastava et al. 2014, "Dropout", section 5.1; Keras's max-norm constraint).
    weight = sym.var("fc1_weight", attr={"__max_norm__": "3"})
    x = sym.FullyConnected(x, weight=weight, num_hidden=256, name="fc1")  # 256
    x = relu(x, "relu_fc1")
    x = relu(dense(x, "fc2", 128), "relu_fc2")  # 128
    return classifier(x, num_classes, "fc3")  # num_classes


def layer(x: sym.Symbol, name: str, filters: int) -> sym.Symbol:
    """3x3 convolution with bias, relu."""
    return relu(convolution(x, name, filters, 3, bias=True), f"{name}_relu")
