"""Exports for PyTorch, and parameters as .safetensors.

A network that is equal to one of torchvision or timm becomes a file of parameters with their names;
any other one a program of `torch.export`.
"""

import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer import config, symbols
from imagenet_trainer.convert import safetensors_file
from imagenet_trainer.convert.described import to_metadata
from imagenet_trainer.convert.equal_networks import NETWORKS, Equal, parameter_names
from imagenet_trainer.convert.graph import graph_of, without_label
from imagenet_trainer.convert.layer_names import GLUON, TIMM
from imagenet_trainer.convert.samples import open_images, sample_images
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.engines.planes import normalise
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import ArgumentError, InputError
from imagenet_trainer.graph import Symbol
from imagenet_trainer.runs.checkpoint import Checkpoint
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.arrays import Arrays
from imagenet_trainer.system.files import write_file
from imagenet_trainer.system.wheels import pip_install

LARGEST_DIFFERENCE = 1e-5  # of an output, relative to the largest
# Their auxiliary classifiers, which networks here do not have.
OPTIONS = {
    "inception_v3": {"aux_logits": False, "init_weights": False},
    "googlenet": {"aux_logits": False, "init_weights": False},
}


def check_libraries(symbol: Symbol, checkpoint: Checkpoint) -> None:
    """Raise InputError if PyTorch is missing and this network's export needs it."""
    if not equal_network(symbol, checkpoint) and not has_torch():
        raise ArgumentError(
            "to", "torch", "the network is not one of torchvision or timm, so PyTorch has to "
            f"trace it; {pip_install('torch')}, or use --to onnx",
        )  # fmt: skip


def to_safetensors(symbol: Symbol, checkpoint: Checkpoint, path: str) -> Dict[str, Any]:
    """Write all parameters with MXNet's names, and the graph; return the card's part.

    No name tells the graph: --blur-pool has another one with the same parameters.
    """
    arrays = {**checkpoint.arg, **checkpoint.aux}
    how = checkpoint.known_preprocessing
    metadata = to_metadata(how, checkpoint.classes, symbol=symbol.tojson())
    safetensors_file.write(path, arrays, metadata)
    print(f"{path}: {len(arrays)} arrays with MXNet's names, {os.path.getsize(path) / 1e6:.1f} MB")
    return {"arrays": len(arrays)}


def to_torch(
    settings: config.ExportSettings, run: Run, checkpoint: Checkpoint, symbol: Symbol,
    prefix: str, epoch: int,
) -> Tuple[str, Dict[str, Any]]:  # fmt: skip
    """Write the network for PyTorch; return the file and the card's part.

    Raises InputError if its outputs differ from those of the network here; then nothing is written.
    """
    equal = equal_network(symbol, checkpoint)
    planes = _planes(settings, run, checkpoint)
    if equal is None:
        path = f"{prefix}-{epoch:04d}.pt2"
        return path, _write_program(run, checkpoint, symbol, planes, path)
    path = f"{prefix}-torch-{epoch:04d}.safetensors"
    names = parameter_names(symbol, equal)
    arrays = {
        names[k]: v.reshape(equal.their_shape(names[k], v.shape))
        for part in (checkpoint.arg, checkpoint.aux)
        for k, v in part.items()
    }
    options = {"num_classes": len(checkpoint.classes)}
    if equal.library != TIMM:
        options.update(OPTIONS.get(equal.name, {}))
    difference = _difference(symbol, checkpoint, equal, options, arrays, planes)
    if difference is None:
        compared = f"checked by names and shapes, as {equal.library} cannot be imported here"
    elif difference <= LARGEST_DIFFERENCE:
        compared = (
            f"on {len(planes)} images its outputs differ from ours by at most {difference:.1e}"
        )
    else:
        raise InputError(
            f"{path}: the outputs of {equal.title} differ by {difference:.2g} of the largest, more "
            f"than {LARGEST_DIFFERENCE:g}; it was not written"
        )
    how = checkpoint.known_preprocessing
    safetensors_file.write(path, arrays, to_metadata(how, checkpoint.classes, equal.network))
    print(f"{path}: parameters of {equal.title}, {os.path.getsize(path) / 1e6:.1f} MB; {compared}")
    about = {"library": equal.library, "model": equal.name, "options": options}
    return path, {**about, "largest_difference": difference}


def equal_network(symbol: Symbol, checkpoint: Checkpoint) -> Optional[Equal]:
    """The network of torchvision, or else of timm, that computes the same; None if there is none.

    The graph must be that of a network here that is equal to theirs, with all its parameters.
    """
    found = _described(symbol)
    own = {k: v.shape for part in (checkpoint.arg, checkpoint.aux) for k, v in part.items()}
    for equal in NETWORKS:
        if equal.library == GLUON:
            continue
        theirs = graph_of(equal.network, len(checkpoint.classes))
        if len(theirs.nodes) == len(symbol.nodes) and _described(theirs) == found:
            arg, aux = parameter_shapes(theirs, symbols.find(equal.network).image_shape)
            return equal if {**arg, **aux} == own else None
    return None


def _described(symbol: Symbol) -> List[Any]:
    """What a graph computes, without the attributes for training only."""
    return [
        (node.name, node.op, node.values, [(e.node.name, e.output) for e in node.inputs])
        for node in symbol.nodes
    ]


def _planes(settings: config.ExportSettings, run: Run, checkpoint: Checkpoint) -> np.ndarray:
    """Normalised images to compare outputs on; noise if there is no validation shard."""
    preprocessing = checkpoint.known_preprocessing
    try:
        dataset = open_images(settings.data_val, "val", run, checkpoint)
        images = sample_images(dataset, preprocessing, settings.check_pictures)
    except InputError:
        if settings.data_val:
            raise
        _, height, width = preprocessing.image_shape
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (settings.check_pictures, height, width, 3), np.uint8)
    return normalise(images, *preprocessing.colours)


def _difference(
    symbol: Symbol, checkpoint: Checkpoint, equal: Equal, options: Dict[str, Any],
    arrays: Arrays, planes: np.ndarray,
) -> Optional[float]:  # fmt: skip
    """Between the outputs before the softmax, relative to the largest; None without the library."""
    if not has_torch():
        return None
    from imagenet_trainer.engines.pytorch import exported

    model = exported.model_of(equal.library, equal.name, options, arrays)
    if model is None:
        return None
    logits = Symbol(symbol.entries[-1].node.inputs[:1])
    module = exported.module_of(
        logits, checkpoint.arg, checkpoint.aux, checkpoint.known_preprocessing.image_shape
    )
    theirs, ours = exported.outputs(model, planes), exported.outputs(module, planes)
    return float(abs(theirs - ours).max() / max(abs(ours).max(), 1e-30))


def _write_program(
    run: Run, checkpoint: Checkpoint, symbol: Symbol, planes: np.ndarray, path: str
) -> Dict[str, Any]:
    from imagenet_trainer.engines.pytorch import exported

    network = without_label(symbol, str(run.symbol_path))
    shape = checkpoint.known_preprocessing.image_shape
    module = exported.module_of(network, checkpoint.arg, checkpoint.aux, shape)
    data = exported.program_of(module, planes)
    wanted, found = exported.outputs(module, planes), exported.run_program(data, planes)
    difference = float(abs(found - wanted).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise InputError(
            f"{path}: its probabilities differ from the engine's by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; it was not written"
        )
    write_file(path, data)
    print(
        f"{path}: program of torch.export, {len(data) / 1e6:.1f} MB; on {len(planes)} images its "
        f"probabilities differ from the engine's by at most {difference:.1e}"
    )
    return {"program": "torch.export", "output": "probabilities", "largest_difference": difference}
