"""BatchNorm over the batches of all workers (Peng et al. 2017, arXiv:1711.07240, section 3.3)."""

from typing import Any, Optional, Tuple

import torch
import torch.distributed as dist
from torch import Tensor, fx

from imagenet_trainer.engines.pytorch import modes


def synchronise(module: fx.GraphModule) -> None:
    """Make every BatchNorm of a network in training normalise with the moments of all workers."""
    for node in module.graph.nodes:
        if node.target is modes.batch_norm:
            node.target = sync_batch_norm
    module.recompile()


def sync_batch_norm(
    x: Tensor, gamma: Optional[Tensor], beta: Tensor, *, eps: float
) -> Tuple[Tensor, Tensor, Tensor]:
    """`modes.batch_norm` as if the batches of all workers, which have equal sizes, were one.

    Two messages of 2 c numbers: in forward, and in backward.
    """
    return _SyncBatchNorm.apply(x, modes.scale_of(gamma, beta), beta, eps)


class _SyncBatchNorm(torch.autograd.Function):
    """Computes in float32, returns the type of x, and keeps only x for backward."""

    @staticmethod
    def forward(  # type: ignore[override]
        context: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float
    ) -> Tuple[Tensor, Tensor, Tensor]:
        workers = dist.get_world_size()
        variance, mean = torch.var_mean(x.float(), _axes(x), correction=0)
        all_ = torch.empty(workers * 2, len(mean), device=x.device)
        dist.all_gather_into_tensor(all_, torch.stack([mean, variance]))
        means, variances = all_.reshape(workers, 2, -1).unbind(1)
        mean = means.mean(0)
        # The variance within the workers plus the variance between them; no difference of large
        # numbers, as the mean of squares minus the square of the mean would be.
        variance = variances.mean(0) + (means - mean).square().mean(0)
        inverse = (variance + eps).rsqrt()
        context.save_for_backward(x, gamma, mean, inverse)
        context.mark_non_differentiable(mean, variance)
        result = (x - _wide(mean, x)) * _wide(inverse * gamma, x) + _wide(beta, x)
        return result.to(x.dtype), mean, variance

    @staticmethod
    def backward(  # type: ignore[override]
        context: Any, grad: Tensor, *_: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor, None]:
        x, gamma, mean, inverse = context.saved_tensors
        normal = (x - _wide(mean, x)) * _wide(inverse, x)
        grad = grad.float()
        of_beta, of_gamma = grad.sum(_axes(x)), (grad * normal).sum(_axes(x))
        means = torch.stack([of_beta, of_gamma])
        dist.all_reduce(means)
        means /= dist.get_world_size() * x.numel() // x.shape[1]
        of_x = grad - _wide(means[0], x) - normal * _wide(means[1], x)
        return (of_x * _wide(inverse * gamma, x)).to(x.dtype), of_gamma, of_beta, None


def _axes(x: Tensor) -> Tuple[int, ...]:
    """All axes except the channels'."""
    return (0, *range(2, x.dim()))


def _wide(values: Tensor, x: Tensor) -> Tensor:
    """Values (c,) in the shape (1, c, 1, ...) of x."""
    return values.reshape(1, -1, *[1] * (x.dim() - 2))
