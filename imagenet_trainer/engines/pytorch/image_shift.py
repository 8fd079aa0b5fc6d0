"""The gradient of a shift of the images, without the gradient of the images.

A ResNet-v2 begins with a BatchNorm of the images. Its gammas are fixed, so it only learns betas,
which add a number to each channel of the first convolution's input. The gradient of a beta is the
sum of the input's gradient over all images and pixels. Instead of the input's gradient, which takes
an eighth of an update on a CPU because kernels for three channels are slow, this computes the sum:
each tap of the kernel multiplies the sum of the outputs' gradients where it is inside of the image.
"""

from typing import Any, Set, Tuple

import torch
from torch import Tensor

from imagenet_trainer.graph import Node, Symbol


def shifts_of_images(symbol: Symbol) -> Set[int]:
    """Ids of the BatchNorms of `data` with fixed gammas, of which only 2-D convolutions read."""
    heads = {id(entry.node) for entry in symbol.entries}
    found = {id(node) for node in symbol.nodes if _shifts_images(node)} - heads
    for node in symbol.nodes:
        found -= {
            id(entry.node)
            for number, entry in enumerate(node.inputs)
            if number or not _is_plain_convolution(node)
        }
    return found


def _shifts_images(node: Node) -> bool:
    return (
        node.op == "BatchNorm"
        and node.inputs[0].node.name == "data"
        and bool(node.values["fix_gamma"])
        and not node.values["use_global_stats"]
    )


def _is_plain_convolution(node: Node) -> bool:
    return (
        node.op == "Convolution"
        and len(node.values["kernel"]) == 2
        and node.values["num_group"] == 1
    )


def with_shift(
    output: Tensor, x: Tensor, beta: Tensor, weight: Tensor, *, stride: Any, pad: Any, dilate: Any
) -> Tensor:
    """The output (n, o, h, w) of a convolution of x, whose gradient also flows to `beta`.

    x (n, c, H, W) includes beta (c,), detached. Stride, pad and dilate are those of the
    convolution with `weight` (o, c, k, l), for height and width.
    """
    geometry = zip(
        x.shape[2:], output.shape[2:], weight.shape[2:], stride or (1, 1), pad or (0, 0),
        dilate or (1, 1),
    )  # fmt: skip
    inside = [_inside(x.device, *of_axis).to(weight.dtype) for of_axis in geometry]
    result: Tensor = _Shift.apply(output, beta, weight.detach(), *inside)
    return result


def _inside(
    device: torch.device, size: int, outputs: int, kernel: int, stride: int, pad: int, dilate: int
) -> Tensor:
    """Bool (kernel, outputs): whether a tap of an output reads the image, not padding."""
    first = torch.arange(outputs, device=device) * stride - pad
    read = first + dilate * torch.arange(kernel, device=device).unsqueeze(1)
    return (read >= 0) & (read < size)


class _Shift(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        context: Any, output: Tensor, beta: Tensor, weight: Tensor, *inside: Tensor
    ) -> Tensor:
        context.save_for_backward(weight, *inside)
        return output.view_as(output)

    @staticmethod
    def backward(  # type: ignore[override]
        context: Any, gradient: Tensor
    ) -> Tuple[Tensor, Tensor, None, None, None]:
        weight, rows, columns = context.saved_tensors
        taps = torch.einsum("kh,hwo,lw->okl", rows, _sum_of_images(gradient, weight.dtype), columns)
        return gradient, torch.einsum("ockl,okl->c", weight, taps), None, None, None


def _sum_of_images(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The sum (h, w, c) of x (n, c, h, w) over the images, in another type."""
    last = x.permute(0, 2, 3, 1)
    if x.device.type != "cpu":
        return last.sum(0, dtype=dtype)
    # On CPUs a product with ones is thirty times as fast as `sum` (PyTorch 2.13).
    total = last.new_ones((1, len(x))) @ last.flatten(1)
    return total.to(dtype).reshape(last.shape[1:])
