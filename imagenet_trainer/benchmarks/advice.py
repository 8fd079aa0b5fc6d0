"""What measured numbers of a training say about its bottleneck: numbers in, sentences out."""

import math
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

# A training that reaches this share of the speed without data lacks nothing but a faster device.
_GOOD = 0.95
_WAITS = 0.03  # share of waiting for data from which it is worth a word
_SHARE = {"copy": 0.10, "metric": 0.05, "update": 0.15}  # of an update, likewise
_FIXED = 0.2  # share of an update that does not depend on the batch, likewise
_LARGE = 1.3  # images whose short side is so many times what a crop needs cost decoding
_PACKED = 256 / 224  # what im2rec.py's usual --resize leaves around a crop
_SMALL = 64  # crops up to so many pixels are cut from images of any size
_NOISE = 1.1


@dataclass(frozen=True)
class Measured:
    """Each stage alone, and all together."""

    # The machine and the flags.
    processors: int
    threads: int  # that decode beside training
    gpus: int  # 0: on the CPU
    batch_size: int
    dtype: str
    faster_dtypes: str  # values of --dtype that these devices have instructions for, in words
    # Images: seconds each, in one thread with nothing beside it.
    read: float
    decode: float
    augment: float
    short_side: float  # of packed images, the median, in pixels
    crop_side: int  # of the network's input, in pixels
    # An update: seconds of its stages, each waiting for the one before.
    copy: float
    compute: float
    metric: float
    update: float
    half_batch: Optional[float]  # seconds of a whole update with half the batch; None: not measured
    # Images per second.
    data_rate: float  # all decoding threads without training
    network_rate: float  # training on one batch that stays in memory
    together_rate: float
    wait_share: float  # of the time together, waiting for data
    can_decode: bool = False  # the GPUs, with --decode gpu

    @property
    def stages(self) -> Dict[str, float]:
        """Seconds of the stages of an update."""
        return {
            "copy": self.copy,
            "compute": self.compute,
            "metric": self.metric,
            "update": self.update,
        }


def advise(m: Measured) -> List[str]:
    """The verdict in one sentence, then what to change, the most useful first."""
    verdict, advice = _verdict(m)
    if m.together_rate > _NOISE * m.network_rate:
        advice.append(
            "With data it was faster than without: something else used this machine meanwhile. "
            "Measure again when it is idle, or with more --seconds."
        )
    return [verdict, *advice]


def _verdict(m: Measured) -> Tuple[str, List[str]]:
    kept = m.together_rate / m.network_rate
    waits = f"waits for data {m.wait_share:.1%} of the time"
    if m.data_rate < m.network_rate / _GOOD and m.wait_share >= _WAITS:
        return (
            f"The data are the limit: {m.data_rate:.0f} images/s come from {_threads(m.threads)}, "
            f"and the network could take {m.network_rate:.0f}. It {waits}."
        ), _data_advice(m)
    if m.wait_share >= _WAITS:
        return (
            f"Data come fast enough alone ({m.data_rate:.0f} images/s for a network that takes "
            f"{m.network_rate:.0f}), and not beside training: it {waits}."
        ), _contention_advice(m)
    if kept < _GOOD:
        return (
            f"Decoding takes processors from the network: that makes {m.network_rate:.1f} images/s "
            f"alone and {m.together_rate:.1f} with data, and {waits}."
        ), _contention_advice(m)
    return (
        f"The network is the limit: with data it trains at {kept:.0%} of its speed without, and "
        f"{waits}."
    ), _network_advice(m)


def _network_advice(m: Measured) -> List[str]:
    whole = sum(m.stages.values())
    advice = []
    if m.dtype == "float32" and m.faster_dtypes:
        advice.append(
            f"--dtype {m.faster_dtypes}: convolutions and dense layers in half the bits; this "
            "device has instructions for it."
        )
    fixed = 0.0 if m.half_batch is None else 2 * m.half_batch - whole
    if fixed > _FIXED * whole:
        advice.append(
            f"--batch-size {2 * m.batch_size}: {fixed / whole:.0%} of an update does not depend on "
            f"the batch (half of it takes {1000 * (m.half_batch or 0):.0f} ms, all of it "
            f"{1000 * whole:.0f}). Scale --lr with it."
        )
    if m.update > _SHARE["update"] * whole:
        more = " and adding gradients up over the devices" if m.gpus > 1 else ""
        advice.append(
            f"The update{more} takes {m.update / whole:.0%}: it is made once a batch, so a larger "
            "--batch-size makes it rarer" + ("; try --kv-store nccl." if m.gpus > 1 else ".")
        )
    if m.copy > _SHARE["copy"] * whole:
        advice.append(
            f"Copying batches to the device takes {m.copy / whole:.0%}, although they travel as "
            "bytes: "
            + (
                "look at the link (nvidia-smi topo -m, PCIe width), or use fewer GPUs on it."
                if m.gpus
                else "another program takes the memory's bandwidth, or the network is very small."
            )
        )
    if m.metric > _SHARE["metric"] * whole:
        advice.append(
            f"Counting hits takes {m.metric / whole:.0%}: as much for a large batch as for a small "
            "one on a fast device, so a larger --batch-size helps."
        )
    if not advice:
        more_devices = "more GPUs" if m.gpus else "a GPU, or more processors"
        advice.append(
            f"{m.compute / whole:.0%} of an update is computing: only {more_devices}, a smaller "
            "network or a smaller --image-shape make it faster."
        )
    return advice


def _data_advice(m: Measured) -> List[str]:
    stages = {"reading": m.read, "decoding": m.decode, "augmenting": m.augment}
    whole = sum(stages.values())
    largest = max(stages, key=lambda name: stages[name])
    advice = []
    # On the CPU every decoding thread costs the network one of its own.
    most = max(m.processors - 1, 1) if m.gpus else m.processors
    wanted = math.ceil(m.threads * m.network_rate / m.data_rate)
    if m.threads < most:
        threads = min(wanted, most)
        advice.append(
            f"--data-nthreads {threads}: {_threads(wanted)} would keep up"
            + (
                "." if wanted <= most else f", this machine has {most} to spare."
            )
        )  # fmt: skip
    if largest == "decoding" and m.short_side > _LARGE * _packed_side(m):
        advice.append(_pack_smaller(m))
    if largest == "decoding" and m.can_decode:
        advice.append(
            "--decode gpu: the GPUs decode and augment, and the processors only read. That takes "
            "some of the GPUs' time, so compare (it needs pip install -e '.[dali]')."
        )
    if largest == "reading":
        advice.append(
            f"Reading is {m.read / whole:.0%} of the work, so the disk is slow or the set does not "
            "fit into memory: copy it to a local disk, or mix within windows that are read in long "
            "stretches: --shuffle-window 8192."
        )
    if largest == "augmenting":
        advice.append(
            f"Augmenting is {m.augment / whole:.0%} of the work: leave out what the recipe does "
            "not need (rotation, shear and zoom warp every image, colours every pixel), or "
            "pack larger images nearer to the crop's size."
        )
    if not advice:
        advice.append(
            f"All {m.processors} processors are busy, {largest} most "
            f"({stages[largest] / whole:.0%}): this machine needs more of them"
            + (" for each GPU." if m.gpus else ".")
        )
    return advice


def _contention_advice(m: Measured) -> List[str]:
    advice = []
    enough = max(1, math.ceil(m.threads * m.network_rate / m.data_rate))
    if m.wait_share >= _WAITS and m.threads < m.processors:
        advice.append(f"--data-nthreads {m.threads + 1}: one more takes its turn sooner.")
    elif m.wait_share < _WAITS and enough < m.threads:
        advice.append(
            f"--data-nthreads {enough}: so few would keep up, and leave more to the network."
        )
    if m.short_side > _LARGE * _packed_side(m):
        advice.append(_pack_smaller(m))
    if not m.gpus:
        advice.append(
            "MXNet's threads wait for each other after every operator, so one busy processor slows "
            "all: let nothing else run, and try OMP_NUM_THREADS one below the number of processors "
            f"({m.processors})."
        )
    if not advice:
        advice.append("Something else on this machine takes its time: see top and nvidia-smi.")
    return advice


def _packed_side(m: Measured) -> float:
    """Short side in pixels beyond which an image has more than a crop needs."""
    return m.crop_side * _PACKED if m.crop_side > _SMALL else math.inf


def _pack_smaller(m: Measured) -> str:
    needed, whole = _packed_side(m), m.read + m.decode + m.augment
    return (
        f"Pack at {needed:.0f} pixels (python tools/im2rec.py ... --resize {needed:.0f}): decoding "
        f"is {m.decode / whole:.0%} of the work on images whose short side is {m.short_side:.0f} "
        f"pixels; smaller ones take about {(needed / m.short_side) ** 2:.0%} of the time."
    )


def _threads(count: int) -> str:
    return "1 decoding thread" if count == 1 else f"{count} decoding threads"
