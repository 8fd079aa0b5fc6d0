"""Dynamic loss scaling (`engines.loss_scale`) whose numbers stay on the device.

Whether a gradient overflowed is known when backward has ended. If the host waited for that before
every update, the device would be idle until the host had launched the update and the next forward
pass. Here the device decides: the update reads `found` and changes nothing where it is 1. The host
reads the outcome of an update while it waits for the loss of the next one.
"""

from typing import List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.engines.loss_scale import (
    FIRST,
    GROWTH_INTERVAL,
    KEY,
    LARGEST,
    SMALLEST,
    log_skipped,
)
from imagenet_trainer.engines.pytorch.host_copy import HostCopy
from imagenet_trainer.system.arrays import Arrays


class Overflow(NamedTuple):
    """What an update of float16 gradients needs: both float32 (), on the device."""

    scale: Tensor  # by which the gradients are multiplied
    found: Tensor  # 1 if a gradient overflowed and nothing may change, else 0


class DeviceLossScale:
    """The scale of the next update, updates since it changed, and skipped updates, on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # The scale, updates since it changed, skipped updates, and whether an update overflowed
        # although the scale cannot be the cause. Float32 represents all of them exactly.
        self._numbers = torch.tensor([FIRST, 0.0, 0.0, 0.0], device=device)
        self._last = torch.tensor([3], device=device)
        self._pending: Optional[Tuple[int, HostCopy]] = None  # update, and the numbers after it
        self.skipped = 0  # updates, as far as the host has read

    @property
    def value(self) -> Tensor:
        """The scale, float32 ()."""
        return self._numbers[0]

    @torch.no_grad()
    def check(self, gradients: List[Tensor], update: int) -> Overflow:
        """Look for overflows in the gradients of an update, and adapt the scale to it."""
        norms = torch.stack(torch._foreach_norm(gradients))
        overflowed = ~torch.isfinite(norms).all()
        before = self._numbers
        scale, since, skipped, _ = before.unbind()
        failed = overflowed & (scale == SMALLEST)
        grows = since + 1 == GROWTH_INTERVAL
        grown = torch.where(grows, (2 * scale).clamp(max=LARGEST), scale)
        after = torch.stack(
            [
                torch.where(overflowed, scale / 2, grown),
                torch.where(overflowed | grows, 0.0, since + 1),
                skipped + overflowed,
                torch.zeros_like(scale),
            ]
        )
        self._numbers = torch.where(failed, before.index_fill(0, self._last, 1.0), after)
        self._pending = update, HostCopy(self._numbers)
        return Overflow(scale, overflowed.float())

    def settle(self, rank: int) -> None:
        """Read the outcome of the last update; worker 0 logs one that was skipped.

        Raises NonFiniteLossError for an overflow that the scale does not cause.
        """
        if self._pending is None:
            return
        (update, numbers), self._pending = self._pending, None
        scale, _, skipped, failed = numbers.read().tolist()
        if failed:
            raise NonFiniteLossError(update)
        if skipped > self.skipped and rank == 0:
            log_skipped(update, int(skipped), scale)
        self.skipped = int(skipped)

    def state(self) -> Arrays:
        """`loss_scale`, as of `engines.loss_scale.LossScale`."""
        return {KEY: self._numbers[:3].cpu().numpy().astype(np.float64)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from a state, or from the first scale if it has none."""
        numbers = [*map(float, state.get(KEY, (FIRST, 0, 0))), 0.0]
        self._numbers = torch.tensor(numbers, device=self._device)
        self._pending, self.skipped = None, int(numbers[2])
