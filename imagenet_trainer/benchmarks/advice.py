"""Turn the measurements of a training into a verdict on its bottleneck, and advice."""

import math
from typing import List, Tuple

from imagenet_trainer.config.measured import TrainingProfile
from imagenet_trainer.system.wheels import pip_command

# At this share of the speed without data only a faster device helps.
_GOOD = 0.95
_WAITS = 0.03  # least share of waiting for data that is reported
_SHARE = {"copy": 0.10, "metric": 0.05, "update": 0.15}  # least shares of an update
_FIXED = 0.2  # least share of an update that does not depend on the batch
_LARGE = 1.3  # from this ratio of the short side to what a crop needs, decoding is wasteful
_PACKED = 256 / 224  # margin around a crop with im2rec.py's usual --resize
_SMALL = 64  # crops up to this size in pixels are cut from images of any size
_NOISE = 1.1  # from this ratio of the speeds with and without data, other programs ran


def advise(m: TrainingProfile) -> List[str]:
    """Return the verdict in one sentence, then advice, the most useful first."""
    verdict, advice = _verdict(m)
    if m.together_rate > _NOISE * m.network_rate:
        advice.append(
            "Training was faster with data than without: other programs used this machine during "
            "the measurement. Measure again when it is idle, or with a larger --seconds."
        )
    return [verdict, *advice]


def _verdict(m: TrainingProfile) -> Tuple[str, List[str]]:
    share = m.together_rate / m.network_rate
    waits = f"waits for data {m.wait_share:.1%} of the time"
    if m.data_rate < m.network_rate / _GOOD and m.wait_share >= _WAITS:
        return (
            f"Data loading is the limit: {m.data_rate:.0f} images/s from {_threads(m.threads)}; "
            f"the network could train on {m.network_rate:.0f}. It {waits}."
        ), _data_advice(m)
    if m.wait_share >= _WAITS:
        return (
            f"Data loading is fast enough alone ({m.data_rate:.0f} images/s, the network takes "
            f"{m.network_rate:.0f}), but not during training: it {waits}."
        ), _contention_advice(m)
    if share < _GOOD:
        return (
            "Decoding takes processors from the network: it trains on "
            f"{m.network_rate:.1f} images/s without data and {m.together_rate:.1f} with data, and "
            f"{waits}."
        ), _contention_advice(m)
    return (
        f"The network is the limit: with data it trains at {share:.0%} of its speed without data, "
        f"and {waits}."
    ), _network_advice(m)


def _network_advice(m: TrainingProfile) -> List[str]:
    total = sum(m.stages.values())
    advice = []
    if m.dtype == "float32" and m.faster_dtypes:
        advice.append(
            f"--dtype {m.faster_dtypes}: convolutions and dense layers in 16 bits; this device has "
            "instructions for it."
        )
    fixed = 0.0 if m.half_batch is None else 2 * m.half_batch - total
    if fixed > _FIXED * total:
        advice.append(
            f"--batch-size {2 * m.batch_size}: {fixed / total:.0%} of an update does not depend on "
            f"the batch (half the batch takes {1000 * (m.half_batch or 0):.0f} ms, the full batch "
            f"{1000 * total:.0f} ms). Scale --lr with it."
        )
    if m.update > _SHARE["update"] * total:
        more = " and summing gradients over the devices" if m.gpus > 1 else ""
        advice.append(
            f"The update{more} takes {m.update / total:.0%}: there is one per batch, so a larger "
            "--batch-size needs fewer" + ("; try --kv-store nccl." if m.gpus > 1 else ".")
        )
    if m.copy > _SHARE["copy"] * total:
        advice.append(
            f"Copying batches to the device takes {m.copy / total:.0%}, although they are copied "
            "as bytes: "
            + (
                "check the link (nvidia-smi topo -m, PCIe width), or use fewer GPUs on it."
                if m.gpus
                else "another program uses the memory bandwidth, or the network is very small."
            )
        )
    if m.metric > _SHARE["metric"] * total:
        advice.append(
            f"Computing the metrics takes {m.metric / total:.0%}: on a fast device it hardly "
            "depends on the batch, so a larger --batch-size helps."
        )
    if not advice:
        more_devices = "more GPUs" if m.gpus else "a GPU, or more processors"
        advice.append(
            f"{m.compute / total:.0%} of an update is computation: only {more_devices}, a smaller "
            "network or a smaller --image-shape makes it faster."
        )
    return advice


def _data_advice(m: TrainingProfile) -> List[str]:
    stages = {"reading": m.read, "decoding": m.decode, "augmentation": m.augment}
    total = sum(stages.values())
    largest = max(stages, key=lambda name: stages[name])
    advice = []
    # On the CPU each decoding thread takes a processor from the network.
    most = max(m.processors - 1, 1) if m.gpus else m.processors
    wanted = math.ceil(m.threads * m.network_rate / m.data_rate)
    if m.threads < most:
        threads = min(wanted, most)
        advice.append(
            f"--data-nthreads {threads}: {_threads(wanted)} would be enough"
            + (
                "." if wanted <= most else f"; this machine has processors for {most}."
            )
        )  # fmt: skip
    if largest == "decoding" and m.short_side > _LARGE * _packed_side(m):
        advice.append(_pack_smaller(m))
    if largest == "decoding" and m.can_decode:
        advice.append(
            "--decode gpu: the GPUs decode and augment, the processors only read. It takes some of "
            f"the GPUs' time, so compare both (it needs {pip_command('dali')})."
        )
    if largest == "reading":
        advice.append(
            f"Reading is {m.read / total:.0%} of the work: the disk is slow, or the dataset does "
            "not fit into memory. Copy it to a local disk, or shuffle within windows, which are "
            "read in long runs: --shuffle-window 8192."
        )
    if largest == "augmentation":
        advice.append(
            f"Augmentation is {m.augment / total:.0%} of the work: omit what the recipe does not "
            "need (rotation, shear and zoom warp every image, colour changes touch every pixel), "
            "or pack images closer to the size of the crop."
        )
    if not advice:
        advice.append(
            f"All {m.processors} processors are busy, most of the time with {largest} "
            f"({stages[largest] / total:.0%}): this machine needs more processors"
            + (" for each GPU." if m.gpus else ".")
        )
    return advice


def _contention_advice(m: TrainingProfile) -> List[str]:
    advice = []
    enough = max(1, math.ceil(m.threads * m.network_rate / m.data_rate))
    if m.wait_share >= _WAITS and m.threads < m.processors:
        advice.append(f"--data-nthreads {m.threads + 1}: one more thread is scheduled sooner.")
    elif m.wait_share < _WAITS and enough < m.threads:
        advice.append(
            f"--data-nthreads {enough}: enough for the network, and leaves it more processors."
        )
    if m.short_side > _LARGE * _packed_side(m):
        advice.append(_pack_smaller(m))
    if not m.gpus:
        advice.append(
            "Threads wait for each other after every operator, so one busy processor slows all of "
            "them down: run nothing else, and try OMP_NUM_THREADS one below the number of "
            f"processors ({m.processors})."
        )
    if not advice:
        advice.append("Other programs use this machine: see top and nvidia-smi.")
    return advice


def _packed_side(m: TrainingProfile) -> float:
    """The short side in pixels that a crop needs of an image."""
    return m.crop_side * _PACKED if m.crop_side > _SMALL else math.inf


def _pack_smaller(m: TrainingProfile) -> str:
    needed, total = _packed_side(m), m.read + m.decode + m.augment
    return (
        f"Pack at {needed:.0f} pixels (python tools/im2rec.py ... --resize {needed:.0f}): decoding "
        f"is {m.decode / total:.0%} of the work, with a short side of {m.short_side:.0f} pixels; "
        f"the smaller images take about {(needed / m.short_side) ** 2:.0%} of the time."
    )


def _threads(count: int) -> str:
    return "1 decoding thread" if count == 1 else f"{count} decoding threads"
