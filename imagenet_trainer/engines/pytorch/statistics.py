"""BatchNorm's moving statistics, which are the same in all workers."""

from typing import Any, Optional

import torch

from imagenet_trainer.engines.pytorch.graph import TorchNetwork
from imagenet_trainer.engines.pytorch.loss_scale import Overflow


@torch.no_grad()
def update_statistics(
    network: TorchNetwork, moments: torch.Tensor, overflow: Optional[Overflow]
) -> None:
    """MXNet's BatchNorm: moving <- momentum moving + (1 - momentum) batch, unless it overflowed.

    `moments`, float32 (k,), are those of `TorchNetwork.training`, concatenated.
    """
    names = [name for one in network.statistics for name in (one.mean, one.variance)]
    if overflow is not None:  # then moving <- 1 moving + 0
        moments = torch.where(overflow.found > 0, 0.0, moments)
    batch = dict(zip(names, moments.split([network.aux[name].numel() for name in names])))
    for momentum in {one.momentum for one in network.statistics}:
        chosen = [one for one in network.statistics if one.momentum == momentum]
        some = [name for one in chosen for name in (one.mean, one.variance)]
        moving = [network.aux[name] for name in some]
        kept: Any = momentum
        if overflow is not None:
            kept = torch.where(overflow.found > 0, 1.0, momentum)
        torch._foreach_mul_(moving, kept)
        torch._foreach_add_(moving, [batch[name] for name in some], alpha=1 - momentum)
