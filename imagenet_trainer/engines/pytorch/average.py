"""An exponential moving average of parameters and moving statistics; see `engines.Training`."""

from typing import Dict, Mapping, Optional

import numpy as np
import torch

from imagenet_trainer.engines import Training, average_decay_of
from imagenet_trainer.engines.pytorch.graph import TorchNetwork, to_numpy, to_tensor
from imagenet_trainer.engines.pytorch.loss_scale import Overflow
from imagenet_trainer.system.arrays import Arrays


class Average:
    """The averages of a network, on its device."""

    def __init__(self, training: Training, network: TorchNetwork) -> None:
        self._training = training
        self._values: Dict[str, torch.Tensor] = {
            **{f"average:arg:{name}": value for name, value in network.arg.items()},
            **{f"average:aux:{name}": value for name, value in network.aux.items()},
        }
        self._averages: Dict[str, torch.Tensor] = {}  # empty until the first update
        # With overflows: 1 after an update that was made, on the device; None: with the first one.
        self._begun: Optional[torch.Tensor] = None

    @torch.no_grad()
    def update(self, number: int, overflow: Optional[Overflow] = None) -> None:
        """Add the values after update `number` (from 1), unless the update overflowed."""
        kept = average_decay_of(self._training, number)
        if overflow is None and not self._averages:
            self._averages = {name: value.detach().clone() for name, value in self._values.items()}
            return
        averages, values = list(self._averages.values()), list(self._values.values())
        if overflow is None:
            torch._foreach_mul_(averages, kept)
            torch._foreach_add_(averages, values, alpha=1 - kept)
            return
        if not averages:
            self._averages = {name: torch.zeros_like(value) for name, value in self._values.items()}
            averages = list(self._averages.values())
            self._begun = torch.zeros_like(overflow.found)
        skipped = overflow.found
        if self._begun is None:
            self._begun = torch.ones_like(skipped)
        # The first update that is made begins the average: it has decay 0.
        has_begun = self._begun > 0
        decay = torch.where(skipped > 0, 1.0, torch.where(has_begun, kept, 0.0))
        share = torch.where(skipped > 0, 0.0, torch.where(has_begun, 1 - kept, 1.0))
        torch._foreach_mul_(averages, decay)
        torch._foreach_add_(averages, torch._foreach_mul(values, share))
        self._begun = torch.maximum(self._begun, 1 - skipped)

    def state(self) -> Arrays:
        """`average:arg:NAME` and `average:aux:NAME`."""
        if self._begun is not None and not self._begun:
            return {}
        return {name: to_numpy(value) for name, value in self._averages.items()}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state, or start again if it has no average."""
        self._averages, self._begun = {}, None
        if all(name in state for name in self._values):
            self._averages = {n: torch.empty_like(value) for n, value in self._values.items()}
            for name, value in self._averages.items():
                to_tensor(state[name], value)
