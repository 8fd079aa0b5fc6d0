"""BatchNorm and the rectifier after it as one operator of oneDNN, for float32 training on CPUs.

Both passes read and write less memory, the bandwidth of which all cores share. Whether oneDNN has
the operator depends on the layouts that it chooses for the tensors around it, so both graphs make
one update of two invented images. The fused one is used if all of its bits are the same and it also
makes an update of a whole batch.
"""

import collections
import contextlib
import hashlib
import json
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer.engines import Devices, Training
from imagenet_trainer.system.mxnet_import import mx

Shapes = Tuple[Tuple[str, Tuple[int, ...]], ...]  # of the inputs
_COMPARED = 2  # images
_LEAST = 100_000  # pixels of a batch: for fewer a trial takes as long as tens of updates


def fused_relu(
    symbol: "mx.sym.Symbol", training: Optional[Training], devices: Devices, is_async: bool
) -> Optional["FusedRelu"]:
    """The choice for a training in float32 on CPUs; None where others refer to layers or module."""
    if training is None or training.monitor or is_async:
        return None
    if devices.gpus or devices.dtype != "float32" or devices.compression_threshold is not None:
        return None
    return FusedRelu(symbol, training.optimizer.frozen)


class FusedRelu:
    """A symbol, with fused operators for shapes of inputs for which they give the same bits.

    Parameters
    ----------
    symbol
        what MXNet executes; `data` are bytes.
    frozen
        names of parameters without gradients.

    """

    def __init__(self, symbol: "mx.sym.Symbol", frozen: Sequence[str]) -> None:
        self._symbol, self._frozen = symbol, frozen
        self._chosen: Dict[Shapes, mx.sym.Symbol] = {}

    def symbol_for(self, inputs: Sequence["mx.io.DataDesc"], devices: int) -> "mx.sym.Symbol":
        """The faster symbol for these inputs, divided among devices; tried once for each shape."""
        shapes = tuple((one.name, (one.shape[0] // devices, *one.shape[1:])) for one in inputs)
        if shapes not in self._chosen:
            self._chosen[shapes] = self._choice(shapes)
        return self._chosen[shapes]

    def _choice(self, shapes: Shapes) -> "mx.sym.Symbol":
        if math.prod(dict(shapes)["data"][:3]) < _LEAST:
            return self._symbol
        fused = with_fused_relu(self._symbol, dict(shapes))
        if fused is self._symbol:
            return fused
        return fused if self._is_same(fused, shapes) else self._symbol

    def _is_same(self, fused: "mx.sym.Symbol", shapes: Shapes) -> bool:
        """Whether another symbol gives the same bits, and takes whole batches."""
        few = tuple((name, (min(size, _COMPARED), *shape)) for name, (size, *shape) in shapes)
        try:
            symbols = fused, self._symbol
            if len({_bits_of(_updated(one, self._frozen, few)) for one in symbols}) > 1:
                return False
            # oneDNN may choose other layouts for more images.
            _updated(fused, self._frozen, shapes).forward(is_train=False)
            mx.nd.waitall()
        except RuntimeError:  # MXNet's: there is no such operator
            with contextlib.suppress(RuntimeError):
                mx.nd.waitall()
            return False
        return True


def _bits_of(executor: "mx.executor.Executor") -> str:
    """A digest of outputs, gradients and statistics of an update, and of a prediction after it."""
    gradients = [one for one in executor.grad_dict.values() if one is not None]
    digest = hashlib.sha256()
    for array in (*executor.outputs, *gradients, *executor.aux_dict.values()):
        digest.update(array.asnumpy())
    executor.forward(is_train=False)
    for array in executor.outputs:
        digest.update(array.asnumpy())
    return digest.hexdigest()


def _updated(
    symbol: "mx.sym.Symbol", frozen: Sequence[str], shapes: Shapes
) -> "mx.executor.Executor":
    """The symbol after a forward and a backward pass of invented numbers."""
    wanted = dict.fromkeys(symbol.list_arguments(), "write")
    wanted.update(dict.fromkeys([*frozen, *dict(shapes)], "null"))
    types = {**dict.fromkeys(dict(shapes), np.float32), "data": np.uint8}
    executor = symbol.simple_bind(mx.cpu(), wanted, types, **dict(shapes))
    _invent(executor)
    mx.random.seed(0)
    executor.forward(is_train=True)
    executor.backward()
    mx.nd.waitall()  # raises what went wrong
    return executor


def _invent(executor: "mx.executor.Executor") -> None:
    """Set arguments and statistics to numbers with which a network can be trained."""
    # Drawn once and repeated: networks have millions of weights. No width divides the prime number.
    drawn = np.random.default_rng(0).standard_normal(100_003, np.float32)
    for name, array in executor.arg_dict.items():
        values = np.resize(drawn, array.shape)
        if name == "data":
            array[:] = np.abs(64 * values) % 256
        elif array.ndim > 1:
            array[:] = values / math.sqrt(math.prod(array.shape[1:]))
        else:
            array[:] = np.abs(values) if name.endswith("label") else values
    for name, array in executor.aux_dict.items():
        array[:] = float(name.endswith("var"))


def with_fused_relu(
    symbol: "mx.sym.Symbol", shapes: Mapping[str, Tuple[int, ...]]
) -> "mx.sym.Symbol":
    """The symbol with `BatchNormWithReLU` for each BatchNorm that only a rectifier reads.

    `shapes` are those of the inputs. Names stay the same. Left out is what oneDNN 2.4 is known not
    to have: the operator for channels that do not fill its blocks, the gradient of a global pooling
    over 7 x 7 in the layout of a BatchNorm, and anything in a symbol with grouped convolutions that
    are not depthwise.
    """
    graph = json.loads(symbol.tojson())
    nodes: List[Dict[str, Any]] = graph["nodes"]
    if any(_is_grouped(node) for node in nodes):
        return symbol
    internals = symbol.get_internals()
    _, found, _ = internals.infer_shape_partial(**shapes)
    shape_of = dict(zip(internals.list_outputs(), found))
    readers = collections.Counter(entry[0] for node in nodes for entry in node["inputs"])
    readers.update(head[0] for head in graph["heads"])
    pooled = {node["inputs"][0][0] for node in nodes if _is_global_pooling(node)}
    fused = 0
    for number, node in enumerate(nodes):
        if number in pooled or node["op"] != "Activation" or node["attrs"]["act_type"] != "relu":
            continue
        source = node["inputs"][0][0]
        norm = nodes[source]
        attributes = norm.get("attrs", {})  # without those that have their default
        if (
            norm["op"] == "BatchNorm"
            and readers[source] == 1
            and _is_blocked(shape_of[f"{norm['name']}_output"])
            and attributes.get("axis", "1") == "1"
            and attributes.get("use_global_stats", "False") in ("False", "0")
        ):
            norm["op"] = "_contrib_BatchNormWithReLU"
            node.update(op="_copy", attrs={})
            fused += 1
    return mx.sym.load_json(json.dumps(graph)) if fused else symbol


def _is_blocked(shape: Tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[1] % 16 == 0  # n, channels, height, width


def _is_global_pooling(node: Mapping[str, Any]) -> bool:
    attributes = node.get("attrs", {})
    return node["op"] == "Pooling" and attributes.get("global_pool", "False") in ("True", "1")


def _is_grouped(node: Mapping[str, Any]) -> bool:
    attributes = node.get("attrs", {})
    return node["op"] == "Convolution" and (
        attributes.get("num_group", "1") not in ("1", attributes["num_filter"])
    )
