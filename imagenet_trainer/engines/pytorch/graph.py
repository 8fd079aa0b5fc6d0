"""An MXNet symbol as PyTorch modules: one that trains and one that answers.

The symbol's nodes become a `torch.fx` graph, which is plain Python code over plain PyTorch
operators: `print(network.training.code)` shows it, torch.compile fuses it, DistributedDataParallel
wraps it. Parameters have MXNet's names. Nothing here knows a network.
"""

import ast
import json
import operator as python_operator
import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch
from torch import fx
from torch._subclasses import FakeTensorMode

from imagenet_trainer.engines.pytorch import modes
from imagenet_trainer.engines.pytorch.arithmetic import added, cut_off
from imagenet_trainer.engines.pytorch.operators import OPERATORS, UnsupportedError
from imagenet_trainer.errors import InputError

# Attributes of nodes that say how MXNet's own machinery treats them, not what they compute.
_OF_MXNET = re.compile(r"__.*__|ctx_group|force_mirroring|weight_lr_mult|lr_mult|wd_mult")
_BATCH_NORM = {
    "eps": 1e-3, "momentum": 0.9, "fix_gamma": True, "use_global_stats": False, "axis": 1,
}  # fmt: skip
_DROPOUT = {"p": 0.5, "mode": "training", "axes": ()}
_SOFTMAX = {"multi_output": False, "preserve_shape": False}
_LOSS = {
    **_SOFTMAX, "grad_scale": 1.0, "smooth_alpha": 0.0, "use_ignore": False, "ignore_label": -1.0,
    "normalization": "null",
}  # fmt: skip


@dataclass(frozen=True)
class Statistic:
    """One BatchNorm's moving mean and variance: moving <- momentum moving + (1 - momentum) new."""

    mean: str
    variance: str
    momentum: float


@dataclass(frozen=True)
class Network:
    """A symbol in PyTorch.

    `training(data, label)` is (outputs, loss, statistics): probabilities float32 of every
    SoftmaxOutput (and other heads as they are); the loss whose gradient MXNet gives back, summed
    over the batch; of every entry of `statistics` the batch's mean and variance, one after the
    other. `answering(data)` is the outputs. `data` is (n, c, h, w), `label` (n,) or (n, classes).
    Both modules hold the same tensors.
    """

    training: fx.GraphModule
    answering: fx.GraphModule
    arg: Dict[str, torch.nn.Parameter]
    aux: Dict[str, torch.Tensor]
    statistics: Tuple[Statistic, ...]
    fixed: Tuple[str, ...]  # gammas that are 1 whatever they were set to
    # Of rate and weight decay, where the symbol says them (`__lr_mult__`, `__wd_mult__`).
    multipliers: Mapping[str, Tuple[Optional[float], Optional[float]]]
    # How long a row of a weight, what goes into one unit, may be, where the symbol says it
    # (`__max_norm__`; Srivastava et al. 2014, "Dropout", section 5.1).
    max_norms: Mapping[str, float]
    has_loss: bool  # whether some SoftmaxOutput says what to train for


def load_graph(
    text: str,
    shapes: Mapping[str, Tuple[int, ...]],
    aux_shapes: Mapping[str, Tuple[int, ...]],
    device: torch.device,
) -> Network:
    """The network that a symbol's JSON describes, with all parameters zero.

    Parameters
    ----------
    text
        `symbol.tojson()` of MXNet 1.x.
    shapes, aux_shapes
        of arguments (without data and labels) and auxiliary states, by MXNet's names.
    device
        where its parameters live.

    Raises InputError naming the node and its operator, attribute or value that is not there.

    """
    graph = json.loads(text)
    nodes = graph["nodes"]
    arg = {name: _parameter(shape, device) for name, shape in shapes.items()}
    aux = {name: torch.zeros(shape, device=device) for name, shape in aux_shapes.items()}
    holder = torch.nn.Module()
    for name, value in arg.items():
        holder.register_parameter(_identifier(name), value)
    for name, value in aux.items():
        holder.register_buffer(_identifier(name), value)
    training = _Translation(graph, {*arg, *aux}, True)
    for name in training.fixed:
        arg[name].requires_grad_(False)
    answering = _Translation(graph, {*arg, *aux}, False)
    return Network(
        fx.GraphModule(holder, training.made),
        fx.GraphModule(holder, answering.made).eval(),
        arg,
        aux,
        tuple(training.statistics),
        tuple(training.fixed),
        {n["name"]: _multipliers(n) for n in nodes if n["name"] in arg},
        {
            n["name"]: float(n["attrs"]["__max_norm__"])
            for n in nodes
            if n["name"] in arg and "__max_norm__" in n.get("attrs", {})
        },
        bool(training.losses),
    )


def _parameter(shape: Tuple[int, ...], device: torch.device) -> torch.nn.Parameter:
    value = torch.zeros(shape, device=device)
    if len(shape) == 4:
        value = value.to(memory_format=torch.channels_last)
    return torch.nn.Parameter(value)


def _identifier(name: str) -> str:
    """MXNet's name as Python writes one; no two become the same."""
    return re.sub(r"\W", lambda found: f"_x{ord(found[0]):x}_", name)


def _multipliers(node: Mapping[str, Any]) -> Tuple[Optional[float], Optional[float]]:
    said = [node.get("attrs", {}).get(name) for name in ("__lr_mult__", "__wd_mult__")]
    rate, decay = (None if word is None else float(word) for word in said)
    return rate, decay


class _Translation:
    """Walks the nodes once, in order, and makes the graph of one of the two modules."""

    def __init__(self, graph: Mapping[str, Any], held: Any, is_training: bool) -> None:
        self.is_training = is_training
        self.made = fx.Graph()
        self.statistics: List[Statistic] = []
        self.moments: List[fx.Node] = []  # of the batch, as `statistics` has them
        self.losses: List[fx.Node] = []
        self.fixed: List[str] = []
        self._nodes = graph["nodes"]
        self._data = self.made.placeholder("data")
        self._label = self.made.placeholder("label") if is_training else None
        self._held = held
        self._of: Dict[int, Any] = {}
        labels = _labels(self._nodes)
        for place, node in enumerate(self._nodes):
            if node["op"] == "null":
                self._of[place] = self._variable(place, node["name"], labels)
            else:
                self._of[place] = self._computed(node)
        heads = tuple(self._input(head) for head in graph["heads"])
        if is_training:
            loss = self.made.call_function(added, tuple(self.losses)) if self.losses else None
            self.made.output((heads, loss, tuple(self.moments)))
        else:
            self.made.output(heads)
        self.made.eliminate_dead_code()

    def _variable(self, place: int, name: str, labels: Any) -> Any:
        if name in self._held:
            return self.made.get_attr(_identifier(name))
        if name == "data":
            return self._data
        if place in labels:
            return self._label
        raise InputError(f"{name}: this network has an input that is neither data nor its label")

    def _input(self, source: List[int]) -> Any:
        place, output = source[0], source[1]
        value = self._of[place]
        if isinstance(value, tuple):
            return value[output]
        if output:
            raise _refusal(self._nodes[place], f"output {output} is not there on PyTorch")
        return value

    def _computed(self, node: Mapping[str, Any]) -> Any:
        if node["op"] == "SoftmaxOutput":
            return self._softmax_output(node)
        inputs = [self._input(source) for source in node["inputs"]]
        if node["op"] == "BatchNorm":
            return self._batch_norm(node, inputs)
        if node["op"] == "Dropout":
            return self._dropout(node, inputs)
        known = OPERATORS.get(node["op"])
        if known is None:
            raise InputError(
                f"{node['name']}: operator {node['op']} is not there on PyTorch; use --engine mxnet"
            )
        inputs = inputs or [self._data]  # a constant, which lies where the data does
        values = attributes_of(node, known.attributes, known.ignored, known.only)
        made = self._call(node, known.compute, inputs, values)
        count = values.get("num_outputs", 1)
        if node["op"] in ("SliceChannel", "split") and count > 1:
            get = python_operator.getitem
            return tuple(self.made.call_function(get, (made, i)) for i in range(count))
        return made

    def _batch_norm(self, node: Mapping[str, Any], inputs: List[Any]) -> Any:
        values = attributes_of(
            node, _BATCH_NORM, ("cudnn_off",),
            {"output_mean_var": (False,), "min_calib_range": (None,), "max_calib_range": (None,)},
        )  # fmt: skip
        if values["axis"] != 1:
            raise _refusal(node, f"axis {values['axis']} is not there on PyTorch")
        x, gamma, beta, mean, variance = inputs
        names = [self._nodes[source[0]]["name"] for source in node["inputs"]]
        if values["fix_gamma"]:
            gamma = None
            if names[1] not in self.fixed:
                self.fixed.append(names[1])
        eps = {"eps": values["eps"]}
        if values["use_global_stats"] or not self.is_training:
            known = (x, gamma, beta, mean, variance)
            return self._call(node, modes.batch_norm_known, known, eps)
        if any(names[3] == other.mean for other in self.statistics):
            raise _refusal(node, "shares its moving statistics, which is not there on PyTorch")
        all_three = self._call(node, modes.batch_norm, (x, gamma, beta), eps)
        parts = [self.made.call_function(python_operator.getitem, (all_three, i)) for i in range(3)]
        self.statistics.append(Statistic(names[3], names[4], values["momentum"]))
        self.moments += parts[1:]
        return parts[0]

    def _dropout(self, node: Mapping[str, Any], inputs: List[Any]) -> Any:
        values = attributes_of(node, _DROPOUT, ("cudnn_off",), {"mode": ("training", "always")})
        if not values["p"] or (values["mode"] == "training" and not self.is_training):
            return inputs[0]
        how = {"p": values["p"], "axes": values["axes"]}
        return self._call(node, modes.dropout, inputs[:1], how)

    def _softmax_output(self, node: Mapping[str, Any]) -> Any:
        answers, label = (self._of[source[0]] for source in node["inputs"][:2])
        answers = self._input(node["inputs"][0])
        values = attributes_of(
            node, _LOSS, (), {"out_grad": (False,), "normalization": ("null", "batch", "valid")}
        )
        if self.is_training:
            loss = self._call(node, modes.softmax_loss, (answers, label), values)
            self.losses.append(loss)
            # MXNet passes no gradient through the probabilities either.
            answers = self.made.call_function(cut_off, (answers,))
        shape = {name: values[name] for name in _SOFTMAX}
        return self._call(node, modes.softmax_output, (answers,), shape)

    def _call(self, node: Mapping[str, Any], compute: Any, inputs: Any, values: Any) -> fx.Node:
        made = self.made.call_function(compute, tuple(inputs), dict(values))
        made.meta["symbol"] = f"{node['name']}: {node['op']}"
        return made


def _labels(nodes: List[Mapping[str, Any]]) -> set:
    return {n["inputs"][1][0] for n in nodes if n["op"] == "SoftmaxOutput"}


def attributes_of(
    node: Mapping[str, Any],
    defaults: Mapping[str, Any],
    ignored: Tuple[str, ...] = (),
    only: Optional[Mapping[str, Tuple[Any, ...]]] = None,
) -> Dict[str, Any]:
    """A node's attributes in full; InputError for one that the operator here does not know.

    The JSON has them as words: "(1, 1)", "True", "relu". Their kinds follow from the defaults'.
    """
    only = only or {}
    values = dict(defaults)
    for name, word in node.get("attrs", {}).items():
        value = _value(word)
        if name in defaults:
            default = defaults[name]
            if isinstance(default, tuple) and not isinstance(value, tuple):
                value = () if value is None else (value,)
            elif isinstance(default, bool):
                value = bool(value)
            elif isinstance(default, float):
                value = float(value)
            values[name] = value
        elif name not in ignored and name not in only and not _OF_MXNET.fullmatch(name):
            raise _refusal(node, f"attribute {name} is not there on PyTorch")
        if name in only and value not in only[name]:
            raise _refusal(node, f"{name} {word} is not there on PyTorch")
    return values


def _refusal(node: Mapping[str, Any], why: str) -> InputError:
    return InputError(f"{node['name']}: {node['op']}: {why}; use --engine mxnet")


def _value(word: str) -> Any:
    text = {"true": "True", "false": "False"}.get(word, word)
    try:
        value = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text))
    except (ValueError, SyntaxError):
        return word
    return tuple(value) if isinstance(value, list) else value


class _Check(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        where = n.meta.get("symbol", n)
        try:
            return super().run_node(n)
        except UnsupportedError as error:
            raise InputError(f"{where}: {error}; use --engine mxnet") from error
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            why = str(error).split("\n")[0]
            raise InputError(f"{where}: PyTorch refuses it: {why}; use --engine mxnet") from error


def check_shapes(network: Network, data_shape: Tuple[int, ...]) -> None:
    """InputError naming the node that PyTorch cannot compute for images of this size."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        device = next(iter(network.arg.values())).device
        check = _Check(network.answering)
        check.extra_traceback = False  # which would add lines to the message
        check.run(torch.empty(data_shape, device=device))


def to_tensor(value: np.ndarray, like: torch.Tensor) -> None:
    """Copy an array into a parameter, keeping how that lies in memory."""
    with torch.no_grad():
        like.copy_(torch.from_numpy(np.ascontiguousarray(value, np.float32)))


def to_numpy(value: torch.Tensor) -> np.ndarray:
    """A parameter as MXNet has it: float32, C order."""
    return np.ascontiguousarray(value.detach().float().cpu().contiguous().numpy()).copy()
