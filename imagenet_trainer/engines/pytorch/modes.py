"""MXNet's operators that differ between training and inference, in PyTorch."""

from typing import Any, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenet_trainer.graph.implementations import Implementation


def batch_norm(
    x: Tensor, gamma: Optional[Tensor], beta: Tensor, *, eps: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """X normalised by the batch's mean and variance, and these two, float32 (c,).

    The variance is divided by n, as for MXNet's moving variance; PyTorch's running variance is
    divided by n - 1.
    """
    scale = scale_of(gamma, beta)
    result, mean_, inverse = torch.native_batch_norm(x, scale, beta, None, None, True, 0.0, eps)
    return result, mean_.detach(), (inverse.detach().square().reciprocal() - eps)


def batch_norm_moving(
    x: Tensor, gamma: Optional[Tensor], beta: Tensor, mean_: Tensor, variance: Tensor, *, eps: float
) -> Tensor:
    """X normalised by the moving mean and variance."""
    return F.batch_norm(x, mean_, variance, scale_of(gamma, beta), beta, False, 0.0, eps)


def scale_of(gamma: Optional[Tensor], beta: Tensor) -> Tensor:
    """Gamma, or ones if the symbol fixes it: on GPUs backward needs both or neither."""
    return torch.ones_like(beta) if gamma is None else gamma


def dropout(x: Tensor, *, p: float, axes: Tuple[int, ...]) -> Tensor:
    """Zero with probability p, other elements times 1 / (1 - p); the same mask along `axes`."""
    if not axes:
        return F.dropout(x, p)
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    return x * F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), p)


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def softmax_output(x: Tensor, *, multi_output: bool, preserve_shape: bool) -> Tensor:
    """Probabilities float32 of the logits."""
    x = _precise(x)
    if multi_output:
        return x.softmax(1)
    return x.softmax(-1) if preserve_shape else x.flatten(1).softmax(1).reshape(x.shape)


def softmax_loss(
    x: Tensor,
    label: Tensor,
    *,
    multi_output: bool,
    preserve_shape: bool,
    grad_scale: float,
    smooth_alpha: float,
    use_ignore: bool,
    ignore_label: float,
    normalization: str,
) -> Tensor:
    """The loss whose gradient MXNet's SoftmaxOutput computes: p - y, summed.

    x: logits (n, classes), or with `multi_output` (n, classes, ...).
    label: class indices (n,) or (n, ...), or a distribution for each image (n, classes).
    """
    x = _precise(x)
    if not multi_output:
        x = x.flatten(0, -2) if preserve_shape else x.flatten(1)
    logs = x.log_softmax(1)
    if label.shape == logs.shape:
        # For distributions MXNet applies grad_scale only.
        return -(logs * label).sum() * grad_scale
    label = label.reshape(logs.shape[:1] + logs.shape[2:])
    counted = label != ignore_label
    classes = x.shape[1]
    index = label.long().clamp(0, classes - 1)
    true = logs.gather(1, index.unsqueeze(1)).squeeze(1)
    loss = -true
    if smooth_alpha and not multi_output:  # MXNet does not smooth multi_output
        rest = smooth_alpha / (classes - 1)
        loss = -((1 - smooth_alpha - rest) * true + rest * logs.sum(1))
    if use_ignore:
        loss = loss * counted
    scale: Any = grad_scale
    if normalization == "batch":
        scale = scale / x.shape[0]
    elif normalization == "valid":
        scale = scale / counted.sum().clamp(min=1)
    if multi_output and normalization != "valid":
        scale = scale / logs[0, 0].numel()
    return loss.sum() * scale


def bce_loss(x: Tensor, label: Tensor, *, scale: float = 1.0) -> Tensor:
    """The binary cross-entropies of logits and targets (n, classes): mean over classes, summed."""
    x = _precise(x).flatten(1)
    return F.binary_cross_entropy_with_logits(x, label, reduction="sum") * (scale / x.shape[1])


def sigmoid_output(x: Tensor) -> Tensor:
    """Sigmoids float32 of the logits."""
    return _precise(x).sigmoid()


# What the translation of these supports; it calls one of their modes.
BATCH_NORM = Implementation(
    batch_norm,
    ("eps", "momentum", "fix_gamma", "use_global_stats"),
    ("cudnn_off",),
    {
        "axis": (1,), "output_mean_var": (False,), "min_calib_range": (None,),
        "max_calib_range": (None,),
    },
)  # fmt: skip
SIGMOID_OUTPUT = Implementation(sigmoid_output, ("grad_scale",))
DROPOUT = Implementation(dropout, ("p", "axes", "mode"), ("cudnn_off",))
SOFTMAX_OUTPUT = Implementation(
    softmax_loss,
    (
        "multi_output", "preserve_shape", "grad_scale", "smooth_alpha", "use_ignore",
        "ignore_label", "normalization",
    ),
    only={"out_grad": (False,)},
)  # fmt: skip
