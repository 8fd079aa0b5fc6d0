"""The forward pass of an update on the device: bytes to loss, counts and moments."""

import warnings
from importlib import import_module
from inspect import signature
from typing import Any, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from imagenet_trainer.engines import Training
from imagenet_trainer.engines.pytorch.devices import autocast
from imagenet_trainer.engines.pytorch.host_copy import HostCopy
from imagenet_trainer.engines.pytorch.workers import TorchWorkers

# Keeps the logarithm of an underflown probability finite without hiding a NaN.
_TINY = 1.2e-38
_HALF_STEP = 2.0**-25  # the same for one minus a probability: half the step below 1
_NO_RANK = 2**31
_COUNTS = 4  # of Step
_COMPILATIONS = 128  # of one module's code; PyTorch's limit is 8


class Head(nn.Module):
    """Uint8 (n, h, w, 3) RGB to float32 (n, 3, h, w), normalised; the memory layout stays NHWC.

    `mean` and `std` are of red, green, blue; with `bgr` the result is blue, green, red.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device, bgr: bool = False
    ) -> None:
        super().__init__()
        self._bgr = bgr
        if bgr:
            mean, std = mean[::-1], std[::-1]
        # Not buffers, as DistributedDataParallel would broadcast these before every forward.
        self.mean, self.std = (
            torch.tensor(value, dtype=torch.float32, device=device).reshape(1, -1, 1, 1)
            for value in (mean, std)
        )
        self._is_plain = not any(mean) and all(deviation == 1 for deviation in std)

    def forward(self, images: Tensor) -> Tensor:
        """Permuting copies nothing: NHWC memory with the axes NCHW is channels_last."""
        pixels = images.flip(3) if self._bgr else images
        planes = pixels.permute(0, 3, 1, 2).to(torch.float32)
        return planes if self._is_plain else (planes - self.mean) / self.std


class Step(nn.Module):
    """Forward in training: (loss, counts, moments); `network` is `TorchNetwork.training`.

    The loss is a sum over the batch, to be differentiated. Counts, float32 (4,): rank-1 hits,
    rank-5 hits, summed cross-entropy with the targets, rank-`top_k` hits. Moments, float32 (k,):
    the batch's mean and variance of every BatchNorm, concatenated.
    """

    def __init__(
        self, head: Head, network: nn.Module, training: Training, classes: int,
        dtype: Optional[torch.dtype],
    ) -> None:  # fmt: skip
        super().__init__()
        self.head, self.network = head, network
        self._smoothing, self._mixup = training.label_smoothing, training.mixup
        self._bce, self._vectors = training.bce, training.multi_label
        self._threshold = training.bce_threshold if training.bce else 0.0
        self._teacher = training.teacher_weight
        self._weights = (
            torch.tensor(training.class_weights, dtype=torch.float32, device=head.mean.device)
            if training.class_weights
            else None
        )
        self._top_k = training.top_k
        self._classes, self._autocast = classes, dtype

    def forward(
        self, images: Tensor, label: Tensor, other: Tensor, share: Tensor, teacher: Tensor
    ) -> Tuple[Tensor, Tensor, Tensor]:
        """Images uint8 (n, h, w, 3); label and other int64 (n,); share float32 (n,).

        Teacher float32 (n, classes). With Training.multi_label, label is float32 (n, classes),
        already mixed. What Training does not use is ignored.
        """
        with autocast(images.device, self._autocast):
            target = self.target(label, other, share, teacher)
            # Not `self.network(...)`, which prints its code if an error is raised in it.
            outputs, loss, moments = self.network.forward(self.head(images), target)
        with torch.no_grad():
            output = outputs[0].reshape(len(label), -1)
            counts = self._count(output, label, other, share, teacher)
            flat = [moment.float().flatten() for moment in moments]
            return loss, counts, torch.cat(flat) if flat else counts.new_empty(0)

    def target(self, label: Tensor, other: Tensor, share: Tensor, teacher: Tensor) -> Tensor:
        """The label, or a distribution (n, classes) if it is smoothed or mixed."""
        if self._vectors:
            return label
        plain = not (self._smoothing or self._mixup or self._bce or self._teacher)
        if plain and self._weights is None:
            return label
        one_hot = nn.functional.one_hot
        target = one_hot(label, self._classes).float()
        if self._mixup:
            part = share.unsqueeze(1)
            target = part * target + (1 - part) * one_hot(other, self._classes).float()
        target = (1 - self._smoothing) * target + self._smoothing / self._classes
        if self._teacher:
            target = (1 - self._teacher) * target + self._teacher * teacher
        if self._weights is not None:
            target = target * self._weights
        return (target > self._threshold).float() if self._threshold else target

    def _count(
        self, output: Tensor, label: Tensor, other: Tensor, share: Tensor, teacher: Tensor
    ) -> Tensor:
        if self._vectors:
            return self._count_vectors(output, label)
        loss = _cross_entropy(output, label)
        if self._mixup:
            # _TINY avoids 0 * log(0) for a label with share 0.
            loss = share * loss + (1 - share) * _cross_entropy(output, other)
            label = torch.where(share >= 0.5, label, other)
        if self._smoothing:
            uniform = -(output + _TINY).log().mean(1)
            loss = (1 - self._smoothing) * loss + self._smoothing * uniform
        if self._teacher:
            theirs = -(teacher * (output + _TINY).log()).sum(1)
            loss = (1 - self._teacher) * loss + self._teacher * theirs
        return self._counts(_rank(output, label), loss)

    def _count_vectors(self, output: Tensor, target: Tensor) -> Tensor:
        """As `_count`, of sigmoids and targets (n, classes)."""
        losses = target * (output + _TINY).log() + (1 - target) * (1 - output + _HALF_STEP).log()
        right = target >= 0.5
        best = torch.where(right, output, -1.0).argmax(1)
        # An image without a class has no rank.
        rank = torch.where(right.any(1), _rank(output, best), _NO_RANK)
        return self._counts(rank, -losses.mean(1))

    def _counts(self, rank: Tensor, loss: Tensor) -> Tensor:
        hits = [(rank < k).sum().float() for k in (1, 5, self._top_k)]
        return torch.stack([hits[0], hits[1], loss.sum(), hits[2]])


def _rank(output: Tensor, label: Tensor) -> Tensor:
    """The ranks (n,) of labels (n,); of equal probabilities the lower index comes first."""
    true = output.gather(1, label.unsqueeze(1))
    classes = torch.arange(output.shape[1], device=output.device)
    ahead = (output > true) | ((output == true) & (classes < label.unsqueeze(1)))
    return ahead.sum(1)


def _cross_entropy(output: Tensor, label: Tensor) -> Tensor:
    return -(output.gather(1, label.unsqueeze(1)).squeeze(1) + _TINY).log()


def shared(step: Step, device: torch.device) -> DistributedDataParallel:
    """The module that also sums gradients over the workers, while backward runs."""
    on_gpu = [device] if device.type == "cuda" else None
    # 1 x 1 kernels in channels_last have two descriptions of the same strides.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # Moving statistics are the same for all workers, so they need not be sent before each forward.
    names = signature(DistributedDataParallel).parameters
    sends = "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers"
    options: Any = {sends: False}
    return DistributedDataParallel(step, device_ids=on_gpu, gradient_as_bucket_view=True, **options)


def compiled(module: nn.Module, captured: bool = False) -> Any:
    """The module, compiled for each shape; `captured` as CUDA graphs."""
    dynamo: Any = import_module("torch._dynamo.config")
    inductor: Any = import_module("torch._inductor.config")
    # Engines, devices and sizes of images of this process count. The others would not be compiled.
    name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"  # < 2.6
    setattr(dynamo, name, max(_COMPILATIONS, getattr(dynamo, name)))
    if hasattr(inductor, "deterministic"):  # from PyTorch 2.10 on
        # It would measure in which blocks to sum, and another process measures other times.
        inductor.deterministic = torch.are_deterministic_algorithms_enabled()
    return torch.compile(module, mode="reduce-overhead" if captured else "default", dynamic=False)


class StepResult:
    """Counts and moments of a part, summed over the workers, and copied to the host.

    The sum runs beside backward: nothing between forward and backward waits for other workers.
    `stream` is one beside which backward runs, on a GPU.
    """

    def __init__(
        self, counts: Tensor, moments: Tensor, workers: Optional[TorchWorkers], stream: Any = None
    ) -> None:
        # One message for both. Moving statistics are linear in the moments, so the mean of the
        # moments over the workers yields the mean of their statistics.
        self._both = torch.cat([counts, moments])
        self._workers = workers.world_size if workers else 1
        self._sum = workers.begin_sum(self._both) if workers and self._workers > 1 else None
        if self._sum is not None and self._both.is_cuda:
            with torch.cuda.stream(stream):
                self._sum.wait()  # this stream waits, not the host
                self._counts = HostCopy(self._both[:_COUNTS])
        else:
            self._counts = HostCopy(self._both[:_COUNTS])

    def counts(self) -> np.ndarray:
        """Float64 (4,); waits for forward and the sum, but not for backward (except on a Mac)."""
        if self._sum is not None and not self._both.is_cuda:
            self._sum.wait()
        return self._counts.read().astype(np.float64)

    def moments(self) -> Tensor:
        """The mean of the moments over the workers, float32 (k,), for the device's own stream."""
        if self._sum is not None:
            self._sum.wait()
        return self._both[_COUNTS:] / self._workers if self._workers > 1 else self._both[_COUNTS:]
