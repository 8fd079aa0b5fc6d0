"""Reads the parameters of torchvision, timm, Gluon and GluonCV for networks that are equal to ours.

Names decide what a file is: all parameters of a network of `equal_networks.NETWORKS` must be in it,
with their shapes. Nothing is unpickled.
"""

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np

from imagenet_trainer import symbols
from imagenet_trainer.config.values import INTERPOLATIONS
from imagenet_trainer.convert import safetensors_file
from imagenet_trainer.convert.described import NETWORK
from imagenet_trainer.convert.equal_networks import NETWORKS, Equal, parameter_names
from imagenet_trainer.convert.graph import graph_of, last_layer
from imagenet_trainer.convert.layer_names import GLUON
from imagenet_trainer.convert.model_zoo import GLUONCV_COLOURS, Colours
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.runs import params
from imagenet_trainer.symbols import gluoncv_zoo
from imagenet_trainer.symbols.families import GLUONCV, GLUONCV_RUN
from imagenet_trainer.system.arrays import Arrays

PICKLES = (".pth", ".pt", ".bin", ".tar", ".ckpt", ".pkl")
# What predictions do not need: torchvision's auxiliary classifiers, the second name that Gluon's
# GoogLeNet has for its output, and counters.
_UNUSED_PARTS = ("AuxLogits.", "aux1.", "aux2.", "head.2.")
_COUNTER = ".num_batches_tracked"
_SHOWN = 3  # networks in a message

Preparation = Tuple[int, int, Tuple[Colours, Colours]]  # size, resize, mean and deviation


@dataclass(frozen=True)
class OtherWeights:
    """Parameters of a file by our names."""

    title: str  # `torchvision/resnet50`
    network: str  # in `symbols`
    arg: Arrays
    aux: Arrays
    preparation: Preparation
    interpolation: str  # a value of --val-interp
    metadata: Dict[str, str]


@dataclass(frozen=True)
class _Target:
    """A network that a file may be of, with their names of its parameters by ours."""

    title: str
    network: str
    names: Dict[str, str]
    preparation: Preparation
    interpolation: str = INTERPOLATIONS[0]


def load(path: str, name: str, arrays: Arrays, metadata: Dict[str, str]) -> OtherWeights:
    """The parameters in a file, of the network `name`, or of the one that the file fits.

    `name` is `torchvision/resnet50`, `timm/...`, `gluon/...`, `gluoncv/...`, a network here, or
    empty; the others are what `read` returns. Raises InputError with the file for parameters that
    are not those of the network, or of any.
    """
    arrays = {key: value for key, value in arrays.items() if not is_unused(key)}
    known = {equal.network for equal in NETWORKS}
    targets = _targets(name or (metadata[NETWORK] if metadata.get(NETWORK) in known else ""))
    named = [target for target in targets if set(target.names.values()) == set(arrays)]
    if not named:
        raise _no_match(path, name, targets, arrays)
    differences = []
    for target in named:
        shapes = _shapes(target, arrays)
        difference = _difference(target, shapes, arrays)
        if difference is None:
            arg, aux = (_taken(part, target.names, arrays) for part in shapes)
            return OtherWeights(
                target.title, target.network, arg, aux, target.preparation, target.interpolation,
                metadata,
            )  # fmt: skip
        differences.append(f"{path}: {difference}")
    raise InputError(differences[0])


def read(path: str) -> Tuple[Arrays, Dict[str, str]]:
    """The arrays in a file, and its metadata.

    Raises InputError with the file for a pickle (with the command that converts it), and a damaged
    file.
    """
    ending = Path(path).suffix.lower()
    if ending == ".safetensors":
        return safetensors_file.read(path)
    if ending == ".params":
        arrays = params.read(path)
        if all(key.startswith(("arg:", "aux:")) for key in arrays):
            arg, aux = params.split(arrays, path)
            arrays = {**arg, **aux}
        return arrays, {}
    if ending in PICKLES:
        target = str(Path(path).with_suffix(".safetensors"))
        program = (
            "import torch; from safetensors.torch import save_file; save_file(torch.load("
            f'{json.dumps(path)}, map_location="cpu", weights_only=True), {json.dumps(target)})'
        )
        raise InputError(
            f"{path}: is a pickle, which is never read; with PyTorch and safetensors run: "
            f"python -c {shlex.quote(program)} and use --file {shlex.quote(target)}"
        )
    raise InputError(f"{path}: must be a .safetensors file, or Gluon's .params")


def is_unused(key: str) -> bool:
    """Whether predictions do not need this entry of a file."""
    return key.endswith(_COUNTER) or key.startswith(_UNUSED_PARTS)


def _targets(name: str) -> List[_Target]:
    """The networks that `name` stands for; all that are known if it is empty."""
    library, slash, there = name.partition("/")
    if name.startswith((GLUONCV, GLUONCV_RUN)):
        equals = [equal for equal in NETWORKS if (equal.library, equal.name) == (GLUON, there)]
        # GluonCV's network of this name is another one than Gluon's.
        if equals and not there.startswith("mobilenetv2"):
            return [_target(equal) for equal in equals]
        return [_of_gluoncv(name)]
    if slash:
        there = there.partition(".")[0]  # timm's resnet50.a1_in1k
        equals = [equal for equal in NETWORKS if equal.title == f"{library}/{there}"]
        if not equals:
            known = [equal.name for equal in NETWORKS if equal.library == library]
            raise ArgumentError(
                "name", name, "no network here is known to be equal to it; "
                + (f"there are {', '.join(known)}" if known else
                   "use torchvision/NAME, timm/NAME, gluon/NAME or gluoncv/NAME")
            )  # fmt: skip
        return [_target(equal) for equal in equals]
    if not name:
        return [_target(equal) for equal in NETWORKS]
    try:
        network = symbols.find(name)
    except ArgumentError as error:
        raise ArgumentError("name", name, str(error).partition(": ")[2]) from error
    targets = [_target(equal) for equal in NETWORKS if equal.network == network.name]
    symbol = graph_of(network.name, 1000)
    own = dict.fromkeys([*symbol.list_arguments(), *symbol.list_auxiliary_states()])
    names = {key: key for key in own if key not in ("data", "softmax_label")}
    how = (network.image_shape[1], 0, GLUONCV_COLOURS)
    return [*targets, _Target(network.name, network.name, names, how)]


def _target(equal: Equal) -> _Target:
    symbol = graph_of(equal.network, 1000)
    how = (symbols.find(equal.network).image_shape[1], equal.resize, equal.colours)
    names = parameter_names(symbol, equal)
    return _Target(equal.title, equal.network, names, how, equal.interpolation)


def _of_gluoncv(name: str) -> _Target:
    network = symbols.find(name)
    graph_of(network.name, 1000)  # refuses other than classifiers
    names = gluoncv_zoo.structural_names(network.build_options["name"])
    how = (network.image_shape[1], 0, GLUONCV_COLOURS)
    return _Target(name, network.name, names, how)


Shapes = Dict[str, Tuple[int, ...]]


def _shapes(target: _Target, arrays: Arrays) -> Tuple[Shapes, Shapes]:
    """The shapes by our names of arguments and moving statistics, for the classes of the file."""
    found = arrays[target.names[last_layer(target.network)]].shape[:1]
    classes = 1000 if found in ((), (0,)) else found[0]
    shape = symbols.find(target.network).image_shape
    return parameter_shapes(graph_of(target.network, classes), shape)


def _difference(target: _Target, shapes: Tuple[Shapes, Shapes], arrays: Arrays) -> Optional[str]:
    """The first parameter with another shape, or of a type that is not a number; None if none."""
    for name, shape in {**shapes[0], **shapes[1]}.items():
        theirs = target.names[name]
        value = arrays[theirs]
        if value.dtype.kind != "f":
            return f"{theirs} has the type {value.dtype}; save it as float32"
        if not _is_same(value.shape, shape):
            return (
                f"{theirs} is {value.shape}, but {target.title} has {shape}: the file is of "
                "another network, for another image size, or of a program with another order of "
                "axes"
            )
    return None


def _is_same(theirs: Tuple[int, ...], ours: Tuple[int, ...]) -> bool:
    """Whether values in the first shape are in the order of the second one.

    Axes of length 1 do not matter, as in ConvNeXt's dense layers, which are convolutions here.
    timm's VGG has dense layers written as convolutions. But MLX's (filters, height, width,
    channels) is another order.
    """
    joined = (theirs[:1] + (math.prod(theirs[1:]),)) if len(ours) == 2 else theirs
    return [n for n in joined if n != 1] == [n for n in ours if n != 1]


def _taken(shapes: Shapes, names: Dict[str, str], arrays: Arrays) -> Arrays:
    return {
        name: np.array(arrays[names[name]], np.float32).reshape(shape)
        for name, shape in shapes.items()
    }


def _no_match(path: str, name: str, targets: Sequence[_Target], arrays: Arrays) -> InputError:
    """What to do about a file whose names are not those of any of the networks."""
    if not arrays:
        return InputError(f"{path}: has no parameters")
    found = set(arrays)

    def missing(target: _Target) -> int:
        return len(set(target.names.values()) ^ found)

    nearest = sorted(targets, key=missing)[:_SHOWN]
    best = nearest[0]
    lacks = next((k for k in best.names.values() if k not in found), "")
    extra = next((k for k in arrays if k not in best.names.values()), "")
    difference = f"it has no {lacks}" if lacks else f"{extra} is not in that network"
    start = f"{path}: is not of {name}" if name else f"{path}: is of no network that is known here"
    start += f" (nearest: {best.title}, but {difference})"
    if any(key.endswith((".gamma", ".beta")) for key in arrays) or path.endswith(".params"):
        return InputError(
            f"{start}; Gluon's parameters do not contain their network: name GluonCV's with --name "
            "gluoncv/NAME, or write the network in the program that has it with "
            "net.hybridize(); net(x); net.export('PREFIX', 0) and use --model-prefix PREFIX"
        )
    return InputError(f"{start}; docs/networks.md lists the networks that are equal")
