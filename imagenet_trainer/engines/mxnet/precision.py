"""16-bit operators of a symbol and the scaled loss of float16; parameters stay in float32."""

import contextlib
import json
from typing import List, Sequence, Tuple

from imagenet_trainer.engines.symbol import SIGMOID
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.machine import check_bfloat16
from imagenet_trainer.system.mxnet_import import mixed_precision, mx

LOSS_SCALE = "loss_scale"  # name of the input


def in_16_bits(
    symbol: "mx.sym.Symbol", dtype: str, gpus: Sequence[int], batch_shape: Tuple[int, ...]
) -> "mx.sym.Symbol":
    """The network with casts around the operators that are faster in float16 or bfloat16.

    `batch_shape` is that of `data`. Raises ArgumentError for float16 on CPUs, and for bfloat16 on
    GPUs and on CPUs without instructions for it.
    """
    if dtype == "float16" and not gpus:
        raise ArgumentError(
            "dtype",
            dtype,
            "MXNet has no float16 matrix product for CPUs; use GPUs, or bfloat16 on a CPU that "
            "supports it",
        )
    if dtype == "bfloat16" and gpus:
        raise ArgumentError("dtype", dtype, "only on CPUs with MXNet; use float16 on GPUs")
    if dtype == "bfloat16":
        check_bfloat16()
        converted = _in_bfloat16(symbol, batch_shape)
    else:
        converted = mixed_precision().convert_symbol(symbol, target_dtype=dtype)
    nodes = converted.get_internals()
    for name in (*converted.list_arguments(), *converted.list_auxiliary_states()):
        if name != "data":
            nodes[name]._set_attr(__dtype__="0")  # float32, which the casts leave open
    return converted


def _in_bfloat16(symbol: "mx.sym.Symbol", batch_shape: Tuple[int, ...]) -> "mx.sym.Symbol":
    """MXNet's conversion, except that operators with slow bfloat16 kernels stay float32.

    `clip` is MXNet's own kernel, which is not vectorised: MobileNetV2 took twice as long.

    MXNet does not cast the inputs of a Concat, and then cannot convert a network in which one joins
    both types. In DenseNet these are the first convolution's float32 and the others' bfloat16, so
    the first convolution is converted too. In Inception-ResNet a scaled residual is float32 in any
    case, so Concat is too.
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
    """Names of the convolutions that are slower in bfloat16; see _lacks_kernels.

    Without groups, only those that a BatchNorm follows: the general convolution writes a plain
    layout, for which oneDNN's bfloat16 BatchNorm is very slow. In ResNet-18 the two that follow the
    first convolution took a quarter of an update.
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
    """Whether oneDNN 2.4 computes a bfloat16 convolution, or its gradient, by a general product.

    `channels` are those of a group. Its bfloat16 kernels work on blocks of 16 channels (as its log
    shows, DNNL_VERBOSE=1); its float32 kernels also on blocks of 4 and 8, and on the one or three
    channels of a first convolution.
    """
    if channels == 1 and groups > 1:  # depthwise
        return filters % 16 != 0
    return channels % 16 != 0 or filters // groups % 16 != 0


def with_scaled_loss(symbol: "mx.sym.Symbol") -> "mx.sym.Symbol":
    """The network with the gradient of its loss multiplied by an input `loss_scale` (n,).

    SoftmaxOutput has an option for this, out_grad, which MXNet 1.9.1 ignores (measured). So the
    logits x, with scale s, become x + (s x - s x) with constants for the first and the last term:
    the same number to the last bit, with gradient s. Raises ArgumentError for a network whose
    output is not a softmax.
    """
    graph = json.loads(symbol.tojson())
    heads = [graph["nodes"][node] for node, *_ in graph["heads"]]
    if len(heads) != 1 or heads[0]["op"] not in ("SoftmaxOutput", SIGMOID):
        raise ArgumentError("dtype", "float16", "needs a network that ends in a softmax; omit it")
    logits, label = symbol.get_children()  # n, classes; n
    factor = mx.sym.reshape(mx.sym.Variable(LOSS_SCALE), shape=(-1, 1))
    scaled = mx.sym.broadcast_mul(logits, factor)
    same = mx.sym.BlockGrad(logits) + (scaled - mx.sym.BlockGrad(scaled))
    output = getattr(mx.sym, heads[0]["op"])
    return output(same, label, name=heads[0]["name"], **heads[0].get("attrs", {}))


def all_finite(module: "mx.mod.Module") -> bool:
    """Whether all gradients on all devices of a module are finite; waits for them."""
    checks = []
    for device, context in enumerate(module._context):
        gradients = [
            of_parameter[device]
            for of_parameter in module._exec_group.grad_arrays
            if of_parameter[device] is not None
        ]
        checks.append(mx.nd.ones((1,), ctx=context))
        for first in range(0, len(gradients), 200):  # the operator's limit
            some = gradients[first : first + 200]
            mx.nd.multi_all_finite(*some, num_arrays=len(some), init_output=False, out=checks[-1])
    return all(check.asscalar() for check in checks)
