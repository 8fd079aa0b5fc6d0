"""Devices of MXNet's engine: contexts, and checks before anything is bound."""

from typing import List, Optional, Tuple

from imagenet_trainer.engines import Devices, Training
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.gpus import nvidia_gpus
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.system.wheels import cuda_extra_problem, pip_install, runs_on, this_machine


def cuda_gpus() -> Optional[int]:
    """The number of GPUs that MXNet finds; None if it is a build for CPUs."""
    if not mx.runtime.Features().is_enabled("CUDA"):
        return None
    return mx.context.num_gpus()


def gpu_problem(gpus: Tuple[int, ...]) -> Optional[str]:
    """Why MXNet cannot use these GPUs, in one line with the remedy; None if it can."""
    installed = nvidia_gpus()
    for gpu in gpus:
        name, capability = installed[gpu] if gpu < len(installed) else ("", None)
        if capability and not runs_on(capability):
            return (
                f"GPU {gpu} ({name}) has compute capability {capability[0]}.{capability[1]}, but "
                "mxnet-cu117 supports 5.0 to 8.9 only; use the CPU"
            )
    count = cuda_gpus()
    if count is None:
        return f"this MXNet is a build for CPUs; {_way_to_cuda(bool(installed))}"
    for gpu in gpus:
        if gpu >= count:
            return f"there is no GPU {gpu}; MXNet finds {count}"
    return None


def _way_to_cuda(has_driver: bool) -> str:
    if not has_driver:
        return "there is no NVIDIA driver; use the CPU"
    return cuda_extra_problem(this_machine()) or pip_install("cu117", "pip uninstall -y mxnet")


def contexts_of(devices: Devices) -> List["mx.Context"]:
    """A context for each device; ArgumentError for a GPU that MXNet cannot use."""
    if not devices.gpus:
        return [mx.cpu(number) for number in range(devices.cpus)]
    reason = gpu_problem(tuple(devices.gpus))
    if reason:
        raise ArgumentError("gpus", devices.gpus, reason)
    return [mx.gpu(number) for number in devices.gpus]


def check_options(devices: Devices, training: Optional[Training] = None) -> None:
    """Raise ArgumentError for options that this engine does not have on these devices."""
    if devices.kv_store == "nccl" and not devices.gpus:
        raise ArgumentError("kv_store", "nccl", "sums gradients of GPUs; use device on CPUs")
    if devices.kv_store.endswith("_async"):
        _check_async(devices, training.optimizer.clip_norm if training else None)
    for name in ("sync_batch_norm", "checkpoint_activations"):
        if getattr(training, name, False):
            raise ArgumentError(
                name, "1", "only with PyTorch's engine; omit it, or use engine torch"
            )
    if devices.dtype == "tf32":
        raise ArgumentError(
            "dtype", "tf32", "only with PyTorch's engine on GPUs; use float32, or engine torch"
        )
    if devices.deterministic and devices.gpus:
        raise ArgumentError(
            "deterministic", "1", "only with PyTorch's engine on GPUs; use engine torch"
        )


def _check_async(devices: Devices, clip_norm: Optional[float]) -> None:
    kvstore = f"kvstore {devices.kv_store}"
    if devices.compression_threshold is not None:
        reason = (
            f"compresses sums of gradients, and {kvstore} makes none; use dist_sync, or omit it"
        )
        raise ArgumentError("gc_type", "2bit", reason)
    if clip_norm is not None:
        reason = f"the servers of {kvstore} update each parameter alone; use dist_sync, or omit it"
        raise ArgumentError("clip_gradient_norm", f"{clip_norm:g}", reason)
    if devices.dtype == "float16":
        raise ArgumentError("dtype", "float16", "needs synchronous workers; use dist_sync")


def check_shares(batch: int, parts: int, devices: int, workers: int) -> None:
    """Raise ArgumentError unless all devices of all workers get equal parts of a batch."""
    shares = parts * devices * workers
    if batch % shares:
        many = f"{devices} devices" if devices > 1 else "one device"
        each = f" of {workers} workers" if workers > 1 else ""
        how = f"over {many}{each}" if parts == 1 else f"into {parts} accumulated parts on {many}"
        raise ArgumentError(
            "batch_size", batch, f"cannot be split evenly {how}; use a multiple of {shares}"
        )
