"""Networks by name.

Each family is a module of this package: its paper, the differences from it, a table of sizes, and
a builder. This registry holds the names and the published facts of each network as data; it
imports a family only when a graph is built.

To add a family, write a module with a `get_symbol` and add a line to `families.FAMILIES`.

Graphs only: nothing here trains, reads the files of a run, or knows the command line.
"""

import difflib
import importlib
import os
import re
from dataclasses import dataclass, field
from typing import Any, List, Mapping, Optional, Tuple

from imagenet_trainer.config import commands, plugins
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.graph import Symbol, as_graph
from imagenet_trainer.symbols import plugin, user_file
from imagenet_trainer.symbols.families import (
    ALIASES,
    FAMILIES,
    GLUONCV,
    GLUONCV_RUN,
    GLUONCV_SIZES,
    HE_NORMAL,
    MSRA,
)
from imagenet_trainer.symbols.listing import listing
from imagenet_trainer.symbols.user_file import is_file

__all__ = ["HE_NORMAL", "Network", "find", "get_symbol", "is_file", "listing", "names"]

_NOT_OURS = ("user_file", "plugin")  # modules that take networks from elsewhere


@dataclass(frozen=True)
class Network:
    """A network's name, how to build it, and the defaults it was published with."""

    name: str  # "resnet-50", "squeezenet1.1"; the default name of a run
    family: str  # the module of this package that builds it
    num_layers: Optional[int]  # None if the family has no depths
    image_shape: Tuple[int, int, int]  # channels, height, width that it was published for
    build_options: Mapping[str, Any]  # arguments of the family's get_symbol that the name implies
    # In the form of imagenet_trainer.train.initializers.
    initializer: Mapping[str, Any] = field(default_factory=lambda: MSRA)
    takes_activation: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether a family of this package builds it; the code of others may change."""
        return self.family not in _NOT_OURS


def names() -> List[str]:
    """All names, with the common depths; `resnet` accepts many more."""
    result: List[str] = []
    for name, family in FAMILIES.items():
        stem, dash, variant = name.partition("-")
        result += [name, *(f"{stem}{depth}{dash}{variant}" for depth in family.depths)]
    return result + list(ALIASES)


def find(network: str, num_layers: Optional[int] = None) -> Network:
    """Look up a network by name and depth.

    The depth may be part of the name: `resnet` with 50, `resnet50` and `resnet-50` are the same.
    Variants may be written as GluonCV and timm do: `resnet-v1b` with 50, `resnet-v1b-50`,
    `resnet50_v1b`, `resnet50d`.
    `gluoncv/NAME` is GluonCV's network of that name, which is looked up when its graph is built;
    a name that ends in `.py` or `.json` is a file of the user, which is read then. Any other name
    may be that of a plug-in (`config.plugins`), which is imported at once.
    Raises ArgumentError for an unknown name (suggesting the nearest one), for two different
    depths, and for a depth that the family does not have.
    """
    if is_file(network):
        return _of_file(network, num_layers)
    if network.startswith((GLUONCV, GLUONCV_RUN)):
        return _of_gluoncv(network, num_layers)
    parts = _parts(network)
    if parts is None:
        return _of_plugin(network, num_layers)
    name, depth = parts
    family = FAMILIES[name]
    if not family.depths:
        if num_layers is not None:
            raise ArgumentError("num_layers", num_layers, f"{network} has one depth; omit it")
    elif depth is not None and num_layers not in (None, depth):
        raise ArgumentError(
            "num_layers", num_layers, f"the network {network} has depth {depth}; omit one of them"
        )
    else:
        depth = num_layers if depth is None else depth
        depth = family.default_depth if depth is None else depth
        if depth not in family.depths + family.more_depths:
            depths = family.depths_in_words or ", ".join(map(str, family.depths))
            raise ArgumentError("num_layers", depth, f"{name} has {depths}")
    return Network(
        name=f"{name}-{depth}" if depth else name,
        family=family.module,
        num_layers=depth,
        image_shape=family.image_shape,
        build_options={**family.build_options, **({"num_layers": depth} if depth else {})},
        initializer=family.initializer,
        takes_activation=family.takes_activation,
    )


def get_symbol(
    network: str,
    num_classes: int,
    image_shape: Tuple[int, ...] = (3, 224, 224),
    num_layers: Optional[int] = None,
    activation: str = "relu",
) -> Symbol:
    """Build the graph from `data`, float32 (batch, *image_shape), to `softmax`, (batch, classes).

    It ends in a SoftmaxOutput named `softmax` with labels `softmax_label` (batch,). Raises
    ArgumentError as `find` does, for an option that the family does not have, for images that are
    too small for the network, and for a depth that does not exist at this image size.
    """
    known = find(network, num_layers)
    options = dict(known.build_options)
    if known.takes_activation:
        options["activation"] = activation
    elif activation != "relu":
        raise ArgumentError("activation", activation, f"{known.name} has only relu; omit it")
    family = importlib.import_module(f"{__name__}.{known.family}")
    return as_graph(family.get_symbol(num_classes, image_shape, **options))


def _of_file(network: str, num_layers: Optional[int]) -> Network:
    user_file.check(network, num_layers)
    depth = {} if num_layers is None else {"num_layers": num_layers}
    return Network(
        name="-".join(map(str, (user_file.stem_of(network), *depth.values()))),
        family="user_file",
        num_layers=num_layers,
        image_shape=(3, 224, 224),
        build_options={"path": network, **depth},
    )


def _of_gluoncv(network: str, num_layers: Optional[int]) -> Network:
    name = network[len(GLUONCV) :].lower()  # both prefixes have this length
    if num_layers is not None:
        raise ArgumentError("num_layers", num_layers, f"{network} implies its depth; omit it")
    size = next((s for start, s in GLUONCV_SIZES.items() if name.startswith(start)), 224)
    return Network(
        name=GLUONCV_RUN + name,
        family="gluoncv_zoo",
        num_layers=None,
        image_shape=(3, size, size),
        build_options={"name": name},
    )


def _of_plugin(network: str, num_layers: Optional[int]) -> Network:
    """The plug-in of a name that the registry lacks; ArgumentError if there is none."""
    if plugins.find("networks", network) is None:
        raise ArgumentError(
            "network", network, f"no such network; {_nearest(network)}{commands.LIST_NETWORKS}"
        )
    depth = {} if num_layers is None else {"num_layers": num_layers}
    return Network(
        name="-".join(map(str, (network, *depth.values()))),
        family="plugin",
        num_layers=num_layers,
        image_shape=plugin.image_shape_of(network),
        build_options={"name": network, **depth},
    )


def _parts(network: str) -> Optional[Tuple[str, Optional[int]]]:
    """The registry's name and the depth, which may follow the name or precede the variant.

    None for a name that the registry lacks.
    """
    text = network.replace("_", "-")
    if ALIASES.get(text, text) in FAMILIES:
        return ALIASES.get(text, text), None
    candidates = []
    if match := re.fullmatch(r"(.*?)-?([0-9]+)", text):
        candidates.append((match[1], int(match[2])))
    if match := re.fullmatch(r"([a-z]+)-?([0-9]+)-?(.+)", text):
        candidates.append((f"{match[1]}-{match[3]}", int(match[2])))
    for name, depth in candidates:
        name = ALIASES.get(name, name)
        if name in FAMILIES and depth in FAMILIES[name].depths + FAMILIES[name].more_depths:
            return name, depth
    return None


def _nearest(network: str) -> str:
    """`did you mean NAME? `, or an empty string if no name is similar."""

    def likeness(name: str) -> Tuple[float, int]:
        # Ties go to the longest common prefix: resnet51 means resnet50, not resnet18.
        ratio = difflib.SequenceMatcher(None, network.lower(), name).ratio()
        return ratio, len(os.path.commonprefix((network.lower(), name)))

    near = max([*names(), *plugins.names("networks")], key=likeness)
    return f"did you mean {near}? " if likeness(near)[0] > 0.6 else ""
