"""Translates an MXNet symbol to PyTorch modules: one for training and one for inference.

The symbol's nodes become a `torch.fx` graph, which is Python code with PyTorch's operators:
`print(network.training.code)` shows it, torch.compile fuses it, DistributedDataParallel wraps it.
Parameters have MXNet's names. Nothing here depends on a particular network.
"""

import contextlib
import operator as python_operator
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

import numpy as np
import torch
from torch import fx
from torch._subclasses import FakeTensorMode

from imagenet_trainer.engines.memory import DeviceMemoryError, memory_errors
from imagenet_trainer.engines.pytorch import modes
from imagenet_trainer.engines.pytorch.arithmetic import added, detached
from imagenet_trainer.engines.pytorch.image_shift import shifts_of_images, with_shift
from imagenet_trainer.engines.pytorch.operators import OPERATORS
from imagenet_trainer.engines.symbol import SIGMOID
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.graph import Entry, Node, Symbol, as_graph
from imagenet_trainer.graph.implementations import UnsupportedError, supported_values


@dataclass(frozen=True)
class Statistic:
    """One BatchNorm's moving mean and variance: moving <- momentum moving + (1 - momentum) new."""

    mean: str
    variance: str
    momentum: float


@dataclass(frozen=True)
class TorchNetwork:
    """A symbol in PyTorch.

    `training(data, label)` returns (outputs, loss, moments): probabilities float32 of every
    SoftmaxOutput or LogisticRegressionOutput (and other outputs unchanged); the loss whose gradient
    MXNet computes, summed over the batch; the batch's mean and variance for every entry of
    `statistics`, in this order.
    `inference(data)` returns the outputs. `data` is (n, c, h, w), `label` (n,) or (n, classes).
    Both modules share their tensors.
    """

    training: fx.GraphModule
    inference: fx.GraphModule
    arg: Dict[str, torch.nn.Parameter]
    aux: Dict[str, torch.Tensor]
    statistics: Tuple[Statistic, ...]
    fixed: Tuple[str, ...]  # gammas that are treated as 1, whatever their value
    # Factors of rate and weight decay, if the symbol has them (`__lr_mult__`, `__wd_mult__`).
    multipliers: Mapping[str, Tuple[Optional[float], Optional[float]]]
    # Largest norm of a weight's rows, the incoming weights of a unit, if the symbol has one
    # (`__max_norm__`; Srivastava et al. 2014, "Dropout", section 5.1).
    max_norms: Mapping[str, float]
    has_loss: bool  # whether there is a SoftmaxOutput, or a sigmoid with a label


def load_graph(
    symbol: Any,
    shapes: Mapping[str, Tuple[int, ...]],
    aux_shapes: Mapping[str, Tuple[int, ...]],
    device: torch.device,
    bce: bool = False,
) -> TorchNetwork:
    """A graph in PyTorch, with all parameters zero.

    Parameters
    ----------
    symbol
        a graph, or a symbol of MXNet.
    shapes, aux_shapes
        of arguments (without data and labels) and auxiliary states, by MXNet's names.
    device
        holds the parameters.
    bce
        the loss is `modes.bce_loss` instead of SoftmaxOutput's; labels are (n, classes).

    Raises InputError with the node and the operator, attribute or value that is not available.

    """
    symbol = as_graph(symbol)
    arg = {name: _parameter(shape, device) for name, shape in shapes.items()}
    aux = {name: torch.zeros(shape, device=device) for name, shape in aux_shapes.items()}
    holder = torch.nn.Module()
    for name, value in arg.items():
        holder.register_parameter(_identifier(name), value)
    for name, value in aux.items():
        holder.register_buffer(_identifier(name), value)
    training = _Translation(symbol, {*arg, *aux}, True, bce)
    for name in training.fixed:
        arg[name].requires_grad_(False)
    inference = _Translation(symbol, {*arg, *aux}, False)
    return TorchNetwork(
        fx.GraphModule(holder, training.result),
        fx.GraphModule(holder, inference.result).eval(),
        arg,
        aux,
        tuple(training.statistics),
        tuple(training.fixed),
        {node.name: _multipliers(node) for node in symbol.nodes if node.name in arg},
        {
            node.name: float(node.attrs["__max_norm__"])
            for node in symbol.nodes
            if node.name in arg and "__max_norm__" in node.attrs
        },
        bool(training.losses),
    )


def _parameter(shape: Tuple[int, ...], device: torch.device) -> torch.nn.Parameter:
    value = torch.zeros(shape, device=device)
    if len(shape) == 4:
        value = value.to(memory_format=torch.channels_last)
    return torch.nn.Parameter(value)


def _identifier(name: str) -> str:
    """MXNet's name as a Python identifier; different names stay different."""
    return re.sub(r"\W", lambda match: f"_x{ord(match[0]):x}_", name)


def _multipliers(node: Node) -> Tuple[Optional[float], Optional[float]]:
    texts = [node.attrs.get(name) for name in ("__lr_mult__", "__wd_mult__")]
    rate, decay = (None if text is None else float(text) for text in texts)
    return rate, decay


class _Translation:
    """Translates the nodes, in order, to the graph of one of the two modules."""

    def __init__(
        self, symbol: Symbol, parameters: Any, is_training: bool, bce: bool = False
    ) -> None:
        self.is_training, self._bce = is_training, bce
        self.result = fx.Graph()
        self.statistics: List[Statistic] = []
        self.moments: List[fx.Node] = []  # of the batch, in the order of `statistics`
        self.losses: List[fx.Node] = []
        self.fixed: List[str] = []
        self._data = self.result.placeholder("data")
        self._label = self.result.placeholder("label") if is_training else None
        self._parameters = parameters
        self._values: Dict[int, Any] = {}  # by id of the node
        self._shifts = shifts_of_images(symbol) if is_training else set()
        labels = {id(n.inputs[1].node) for n in symbol.nodes if n.op in ("SoftmaxOutput", SIGMOID)}
        for node in symbol.nodes:
            if node.operator is None:
                self._values[id(node)] = self._variable(node, labels)
            else:
                try:
                    self._values[id(node)] = self._computed(node)
                except UnsupportedError as error:
                    raise _refusal(f"{node.name}: {node.op}", str(error)) from error
        heads = tuple(map(self._input, symbol.entries))
        if is_training:
            loss = self.result.call_function(added, tuple(self.losses)) if self.losses else None
            self.result.output((heads, loss, tuple(self.moments)))
        else:
            self.result.output(heads)
        self.result.eliminate_dead_code()

    def _variable(self, node: Node, labels: Set[int]) -> Any:
        name = node.name
        if name in self._parameters:
            return self.result.get_attr(_identifier(name))
        if name == "data":
            return self._data
        if id(node) in labels:
            return self._label
        raise InputError(f"{name}: this network has an input that is neither data nor its label")

    def _input(self, entry: Entry) -> Any:
        value = self._values[id(entry.node)]
        if isinstance(value, tuple):
            return value[entry.output]
        if entry.output:
            where = f"{entry.node.name}: {entry.node.op}"
            raise _refusal(where, f"output {entry.output} is not supported")
        return value

    def _computed(self, node: Node) -> Any:
        if node.op == "SoftmaxOutput":
            return self._softmax_output(node)
        if node.op == SIGMOID:
            return self._sigmoid_output(node)
        inputs = [self._input(entry) for entry in node.inputs]
        if node.op == "BatchNorm":
            return self._batch_norm(node, inputs)
        if node.op == "Dropout":
            return self._dropout(node, inputs)
        known = OPERATORS.find(node)
        inputs = inputs or [self._data]  # a constant is created on the device of the data
        values = supported_values(node, known)
        result = self._call(node, known.compute, inputs, values)
        if node.op == "Convolution" and id(node.inputs[0].node) in self._shifts:
            beta = self._input(node.inputs[0].node.inputs[2])
            geometry = {name: values[name] for name in ("stride", "pad", "dilate")}
            return self.result.call_function(
                with_shift, (result, inputs[0], beta, inputs[1]), geometry
            )
        if len(node.outputs) > 1:
            get = python_operator.getitem
            parts = range(len(node.outputs))
            return tuple(self.result.call_function(get, (result, i)) for i in parts)
        return result

    def _batch_norm(self, node: Node, inputs: List[Any]) -> Any:
        values = supported_values(node, modes.BATCH_NORM)
        x, gamma, beta, mean, variance = inputs
        names = [entry.node.name for entry in node.inputs]
        if values["fix_gamma"]:
            gamma = None
            if names[1] not in self.fixed:
                self.fixed.append(names[1])
        eps = {"eps": values["eps"]}
        if values["use_global_stats"] or not self.is_training:
            arguments = (x, gamma, beta, mean, variance)
            return self._call(node, modes.batch_norm_moving, arguments, eps)
        if any(names[3] == other.mean for other in self.statistics):
            raise UnsupportedError("sharing of moving statistics is not supported")
        if id(node) in self._shifts:
            beta = self.result.call_function(detached, (beta,))  # `with_shift` has its gradient
        all_three = self._call(node, modes.batch_norm, (x, gamma, beta), eps)
        get = python_operator.getitem
        parts = [self.result.call_function(get, (all_three, i)) for i in range(3)]
        self.statistics.append(Statistic(names[3], names[4], values["momentum"]))
        self.moments += parts[1:]
        return parts[0]

    def _dropout(self, node: Node, inputs: List[Any]) -> Any:
        values = supported_values(node, modes.DROPOUT)
        if not values["p"] or (values["mode"] == "training" and not self.is_training):
            return inputs[0]
        options = {"p": values["p"], "axes": values["axes"]}
        return self._call(node, modes.dropout, inputs[:1], options)

    def _softmax_output(self, node: Node) -> Any:
        logits, label = self._input(node.inputs[0]), self._values[id(node.inputs[1].node)]
        values = supported_values(node, modes.SOFTMAX_OUTPUT)
        if self.is_training:
            compute = modes.bce_loss if self._bce else modes.softmax_loss
            loss = self._call(node, compute, (logits, label), {} if self._bce else values)
            self.losses.append(loss)
            # Like MXNet's, the probabilities pass no gradient.
            logits = self.result.call_function(detached, (logits,))
        shape = {name: values[name] for name in ("multi_output", "preserve_shape")}
        return self._call(node, modes.softmax_output, (logits,), shape)

    def _sigmoid_output(self, node: Node) -> Any:
        logits, label = self._input(node.inputs[0]), self._values[id(node.inputs[1].node)]
        scale = supported_values(node, modes.SIGMOID_OUTPUT)["grad_scale"]
        if self.is_training:
            loss = self._call(node, modes.bce_loss, (logits, label), {"scale": scale})
            self.losses.append(loss)
            logits = self.result.call_function(detached, (logits,))
        return self._call(node, modes.sigmoid_output, (logits,), {})

    def _call(self, node: Node, compute: Any, inputs: Any, values: Any) -> fx.Node:
        result = self.result.call_function(compute, tuple(inputs), dict(values))
        result.meta["symbol"] = f"{node.name}: {node.op}"
        return result


def _refusal(where: str, reason: str) -> ArgumentError:
    return ArgumentError("engine", "torch", f"{where}: {reason}; use mxnet")


class _Check(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        where = n.meta.get("symbol", n)
        try:
            with memory_errors(1, "the CPU"):
                return super().run_node(n)
        except UnsupportedError as error:
            raise _refusal(where, str(error)) from error
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            why = str(error).split("\n")[0]
            raise _refusal(where, f"PyTorch fails with: {why}") from error


def check_shapes(network: TorchNetwork, image_shape: Tuple[int, int, int]) -> None:
    """Raise ArgumentError with the node that PyTorch cannot compute for images of this size.

    A GPU computes nothing. A CPU computes one image, as the imports of fake tensors take longer;
    if there is no memory for it, the first batch will say so.
    """
    device = next(iter(network.arg.values())).device
    is_cpu = device.type == "cpu"
    fake = contextlib.nullcontext() if is_cpu else FakeTensorMode(allow_non_fake_inputs=True)
    with fake, torch.no_grad(), contextlib.suppress(DeviceMemoryError):
        check = _Check(network.inference)
        check.extra_traceback = False  # it would add lines to the message
        check.run(torch.zeros((1, *image_shape), device=device))


def to_tensor(value: np.ndarray, parameter: torch.Tensor) -> None:
    """Copy an array to a parameter, whose memory layout does not change."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))


def to_numpy(value: torch.Tensor) -> np.ndarray:
    """A parameter in MXNet's layout: float32, C order."""
    return np.ascontiguousarray(value.detach().float().cpu().contiguous().numpy()).copy()
