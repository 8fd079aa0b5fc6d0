"""Casts to 16 bits around the operators that gain by them; parameters stay in 32."""

import contextlib
import json
from typing import List, Sequence, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.machine import has_bfloat16
from imagenet_trainer.system.mxnet_import import mixed_precision, mx


def in_16_bits(
    symbol: "mx.sym.Symbol", dtype: str, gpus: Sequence[int], batch_shape: Tuple[int, ...]
) -> "mx.sym.Symbol":
    """Casts around the operators that gain by float16 or bfloat16; parameters stay float32.

    `batch_shape` is that of `data`. Raises InputError for float16 on CPUs, and for bfloat16 on GPUs
    and on CPUs without instructions for it.
    """
    if dtype == "float16" and not gpus:
        raise InputError(
            "--dtype float16: MXNet has no float16 matrix product for CPUs; use --gpus, or "
            "--dtype bfloat16 on a CPU that has it"
        )
    if dtype == "bfloat16" and gpus:
        raise InputError("--dtype bfloat16: is for CPUs; with --gpus use --dtype float16")
    if dtype == "bfloat16" and not has_bfloat16():
        raise InputError(
            "--dtype bfloat16: this CPU has no instructions for it (avx512_bf16 or amx_bf16), it "
            "would be slower than float32; leave it away"
        )
    if dtype == "bfloat16":
        converted = _in_bfloat16(symbol, batch_shape)
    else:
        converted = mixed_precision().convert_symbol(symbol, target_dtype=dtype)
    nodes = converted.get_internals()
    for name in (*converted.list_arguments(), *converted.list_auxiliary_states()):
        if name != "data":
            nodes[name]._set_attr(__dtype__="0")  # float32, which the casts leave open
    return converted


def _in_bfloat16(symbol: "mx.sym.Symbol", batch_shape: Tuple[int, ...]) -> "mx.sym.Symbol":
    """MXNet's conversion, but what its kernels are slow at stays float32.

    `clip` is MXNet's own, one number after the other: MobileNetV2 took twice as long.

    MXNet lets a Concat take whatever type comes, and then cannot convert a network in which one
    joins both. In DenseNet that is the first convolution's float32 and the others' bfloat16, so
    the first is converted too. In Inception-ResNet a scaled residual is float32 anyhow, so Concat
    is.
    """
    amp = mixed_precision()
    operators = [*amp.lists.symbol_bf16.FP32_FUNCS, "clip"]
    slow = slow_in_bfloat16(symbol, batch_shape)

    def converted(in_float32: List[str], excluded: List[str]) -> "mx.sym.Symbol":
        return amp.convert_symbol(
            symbol, target_dtype="bfloat16", fp32_ops=in_float32, excluded_sym_names=excluded
        )

    for excluded in (slow, []):
        with contextlib.suppress(mx.base.MXNetError):
            return converted(operators, excluded)
    return converted([*operators, "Concat"], slow)


def slow_in_bfloat16(symbol: "mx.sym.Symbol", batch_shape: Tuple[int, ...]) -> List[str]:
    """Names of the convolutions that lose more in bfloat16 than they gain; see _lacks_kernels.

    Without groups that is so only where a BatchNorm follows: oneDNN has none for bfloat16 in the
    plain layout that the general convolution puts out but a very slow one. In ResNet-18 the two
    that follow the first convolution took a quarter of an update.
    """
    nodes = json.loads(symbol.tojson())["nodes"]
    shapes = dict(zip(symbol.list_arguments(), symbol.infer_shape(data=batch_shape)[0]))
    normalised = {node["inputs"][0][0] for node in nodes if node["op"] == "BatchNorm"}
    slow = []
    for number, node in enumerate(nodes):
        if node["op"] != "Convolution":
            continue
        weight = nodes[node["inputs"][1][0]]["name"]
        filters, channels = shapes[weight][:2]  # channels of a group
        groups = int(node["attrs"].get("num_group", "1"))
        if _lacks_kernels(filters, channels, groups) and (groups > 1 or number in normalised):
            slow.append(node["name"])
    return slow


def _lacks_kernels(filters: int, channels: int, groups: int) -> bool:
    """Whether oneDNN 2.4 leaves a bfloat16 convolution, or its gradient, to its general product.

    `channels` are those of a group. Its kernels work on blocks of 16 channels (read in its log,
    DNNL_VERBOSE=1); in float32 there are such for blocks of 4 and 8 as well, and for the one or
    three channels of a first convolution.
    """
    if channels == 1 and groups > 1:  # channel by channel
        return filters % 16 != 0
    return channels % 16 != 0 or filters // groups % 16 != 0
