"""Reads published checkpoints from files, and makes runs of them."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np

from imagenet_trainer import config, symbols
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.convert import other_weights
from imagenet_trainer.convert.described import SYMBOL, described_classes, described_preprocessing
from imagenet_trainer.convert.download import fetch, is_address, name_of
from imagenet_trainer.convert.graph import last_layer
from imagenet_trainer.convert.model_zoo import (
    CHECKPOINTS,
    CIFAR_COLOURS,
    GLUONCV_COLOURS,
    MODELS,
    Colours,
    PublishedCheckpoint,
)
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.classes import default_classes
from imagenet_trainer.engines.symbol import check_parameters, load_symbol, number_of_classes
from imagenet_trainer.errors import ArgumentError, InputError, print_message
from imagenet_trainer.graph import Symbol
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import (
    Checkpoint,
    Preprocessing,
    Progress,
    given_preprocessing,
)
from imagenet_trainer.runs.run import Run
from imagenet_trainer.symbols import gluoncv_zoo
from imagenet_trainer.symbols.families import GLUONCV, GLUONCV_RUN
from imagenet_trainer.system.arrays import Arrays, not_finite


@dataclass(frozen=True)
class PublishedNetwork:
    """A published network with its parameters."""

    network: str  # its name in `symbols`; "" if the file has its graph
    arg: Arrays
    aux: Arrays
    preprocessing: Preprocessing
    classes: Tuple[Tuple[str, str], ...]  # (id, name) in the order of the outputs
    graph: Optional[Symbol] = None  # None: the one of its name


def import_or_list(settings: config.PublishedSettings) -> None:
    """Import the checkpoint that the settings name; without one print all checkpoints."""
    if not settings.name and not settings.file:
        for one in fields(settings):
            if is_set(settings, one.name):
                flag = flag_with_value(settings, one.name)
                raise InputError(f"{flag}: of which network? name it with --name or --file")
        print("\n".join(table()))
        return
    prefix = import_checkpoint(settings)
    print(
        f"{settings.name or settings.file}: epoch 0 of {prefix}; use it with --model-prefix "
        f"{prefix}"
    )


def import_checkpoint(settings: config.PublishedSettings) -> str:
    """Write the checkpoint `name`, or the one in `file`, as epoch 0 of a run.

    Returns the run's prefix.
    """
    fetched = is_address(settings.file)
    file = fetch(settings.file, models_folder()) if fetched else settings.file
    published = load_file(file, settings.name) if file else load(settings.name)
    bad = not_finite({**published.arg, **published.aux})
    if bad is not None:
        raise InputError(
            f"{file or settings.name}: {bad} has an infinite or undefined value; get another copy"
        )
    preprocessing = replace(published.preprocessing, **given_preprocessing(settings))
    EvalTransform(preprocessing.image_shape, preprocessing.val_resize)  # ArgumentError
    own_name = name_of(settings.file) if fetched else Path(file).stem
    name = (settings.name or own_name).replace("/", "-")
    run = Run(settings.model_prefix or f"runs/published-{name}/model")
    if run.epochs():
        raise InputError(
            f"{run.folder}: already has checkpoints; choose another one with --model-prefix"
        )
    run.open_for_training()
    try:
        size, classes = preprocessing.image_shape, len(published.classes)
        graph = published.graph
        if graph is None:
            graph = symbols.get_symbol(published.network, classes, size)
        run.write_symbol(graph.tojson())
        checkpoint = Checkpoint(
            published.arg, published.aux, Progress(), {}, preprocessing, published.classes
        )
        run.save(checkpoint, 0)
    finally:
        run.close()
    return run.prefix


def table() -> List[str]:
    """A line for each of MXNet's checkpoints: network, published scores, file if present."""
    lines = [f"{'name':34} {'network':18} {'top-1':>6} {'top-5':>6}  file in {models_folder()}"]
    for name, checkpoint in CHECKPOINTS.items():
        path = find_file(name, checkpoint)
        scores = [f"{score:6.2f}" if score else "     -" for score in checkpoint.scores]
        file = path.name if path else "not there"
        lines.append(f"{name:34} {checkpoint.network:18} {' '.join(scores)}  {file}")
    return lines


def models_folder() -> Path:
    """The folder of the files: Gluon's cache."""
    home = os.environ.get("MXNET_HOME", os.path.join("~", ".mxnet"))
    return Path(home).expanduser() / "models"


def find(name: str) -> Tuple[str, PublishedCheckpoint]:
    """The published checkpoint with this name, or of the network with this name.

    Raises InputError with all names if there is none.
    """
    if name in CHECKPOINTS:
        return name, CHECKPOINTS[name]
    try:
        network = symbols.find(name).name
    except InputError:
        network = name
    for published, checkpoint in CHECKPOINTS.items():
        if network == checkpoint.network or published == f"imagenet1k-{name}":
            return published, checkpoint
    raise InputError(
        f"{name}: no published checkpoint; use one of {', '.join(CHECKPOINTS)}, gluoncv/NAME"
    )


def find_file(name: str, checkpoint: PublishedCheckpoint) -> Optional[Path]:
    """Its file, under its own name or the name of MXNet's modelzoo.py; None if missing."""
    for file in (f"{name}-0000.params", _file_name(checkpoint)):
        if (models_folder() / file).is_file():
            return models_folder() / file
    return None


def _file_name(checkpoint: PublishedCheckpoint) -> str:
    return checkpoint.file or checkpoint.address.rpartition("/")[2]


def load(name: str) -> PublishedNetwork:
    """Read published parameters and check that they have the network's names and shapes.

    Raises InputError for an unknown name, for a missing file, with its address and where to put
    it, and for a file of another network.
    """
    if name.startswith((GLUONCV, GLUONCV_RUN)):
        return _load_gluoncv(name)
    published, checkpoint = find(name)
    path = find_file(published, checkpoint)
    if path is None:
        raise InputError(
            f"{name}: its file is not in {models_folder()}; fetch {MODELS}{checkpoint.address} "
            f"(or a copy of it) and put {_file_name(checkpoint)} there, or give the parameters of "
            "another program with --file hf://timm/resnet18.tv_in1k"
        )
    arg, aux = params.split(params.read(path), path)
    preparation = (checkpoint.size, checkpoint.resize, checkpoint.colours)
    return _checked(checkpoint.network, arg, aux, preparation, str(path))


def load_file(path: str, name: str = "") -> PublishedNetwork:
    """The parameters in a file of torchvision, timm, Gluon or GluonCV, by our names.

    `name` is that of the network, here or there; if it is empty, the names and shapes in the file
    decide. Raises InputError as `other_weights.load` does. The preprocessing is that of the
    network's published parameters, or the one that the file, or timm's config.json beside it, has.
    """
    arrays, metadata = other_weights.read(path)
    if SYMBOL in metadata:
        return _with_its_graph(path, name, arrays, metadata)
    read = other_weights.load(path, name, arrays, metadata)
    print_message("published", f"{path}: has the parameters of {read.title}, here {read.network}")
    published = _checked(read.network, read.arg, read.aux, read.preparation, path)
    how = replace(published.preprocessing, val_interp=read.interpolation)
    described = described_preprocessing(path, read.metadata, how)
    if described.image_shape != how.image_shape:
        shape, classes = described.image_shape, len(published.classes)
        symbol = symbols.get_symbol(read.network, classes, shape)
        check_parameters(symbol, shape, read.arg, read.aux, path)
    named = described_classes(read.metadata, published.classes)
    return replace(published, preprocessing=described, classes=named)


def _with_its_graph(
    path: str, name: str, arrays: Arrays, metadata: Dict[str, str]
) -> PublishedNetwork:
    """What `export --to safetensors` has written."""
    if name:
        raise ArgumentError("name", name, f"{path} contains its network; omit the flag")
    graph = load_symbol(metadata[SYMBOL], path)
    unknown = Preprocessing((3, 224, 224), (0, 0, 0), (1, 1, 1), 0)
    how = described_preprocessing(path, metadata, unknown)
    arg = {key: np.asarray(value, np.float32) for key, value in arrays.items()}
    moving = set(graph.list_auxiliary_states())
    aux = {key: arg.pop(key) for key in arrays if key in moving}
    check_parameters(graph, how.image_shape, arg, aux, path)
    count = number_of_classes(graph, how.image_shape)
    classes = described_classes(metadata, default_classes(count))
    return PublishedNetwork("", arg, aux, how, classes, graph)


def _load_gluoncv(name: str) -> PublishedNetwork:
    network = symbols.find(name)
    size = network.image_shape[1]
    symbols.get_symbol(network.name, 1000, network.image_shape)  # refuses other than classifiers
    arg, aux = gluoncv_zoo.pretrained_parameters(network.build_options["name"])
    is_cifar = "cifar" in name
    preparation = (size, size, CIFAR_COLOURS) if is_cifar else (size, 0, GLUONCV_COLOURS)
    return _checked(network.name, arg, aux, preparation, name)


def _checked(
    network: str,
    arg: Arrays,
    aux: Arrays,
    preparation: Tuple[int, int, Tuple[Colours, Colours]],
    path: str,
) -> PublishedNetwork:
    size, resize, (mean, std) = preparation
    last = last_layer(network)
    if last not in arg:
        raise InputError(f"{path}: has no {last}: it is from another network")
    classes = len(arg[last])
    shape = (3, size, size)
    check_parameters(symbols.get_symbol(network, classes, shape), shape, arg, aux, path)
    how = Preprocessing(shape, mean, std, resize)
    return PublishedNetwork(network, arg, aux, how, default_classes(classes))
