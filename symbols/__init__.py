"""Networks by name.

Every family is a module of this package: its paper on top, what it does differently, a table of
its sizes, a builder below. This registry knows the names and, as data, what is best known about
each network; it imports a family, and with it MXNet, only when a graph is built.

A new family is a module with a `get_symbol` and a line in `families.FAMILIES`.
"""

import difflib
import importlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Tuple

from imagenet_trainer.errors import InputError
from symbols.families import ALIASES, FAMILIES, GLUONCV, GLUONCV_RUN, GLUONCV_SIZES, HE_NORMAL, MSRA

if TYPE_CHECKING:
    import mxnet as mx


__all__ = ["HE_NORMAL", "Network", "find", "get_symbol", "names"]


@dataclass(frozen=True)
class Network:
    """One network and what is best known about it."""

    name: str  # "resnet-50", "squeezenet1.1": what runs are called after
    family: str  # the module of this package that builds it
    num_layers: Optional[int]  # None where the family has no depths
    image_shape: Tuple[int, int, int]  # channels, height, width that it was published for
    initializer: Mapping[str, Any]  # as imagenet_trainer.train.initializers takes it
    build_options: Mapping[str, Any]  # what its name says to the family's get_symbol
    takes_activation: bool


def names() -> List[str]:
    """The names to choose from; `resnet` takes more depths than are worth listing."""
    found: List[str] = []
    for name, family in FAMILIES.items():
        stem, dash, variant = name.partition("-")
        found += [name, *(f"{stem}{depth}{dash}{variant}" for depth in family.depths)]
    return found + list(ALIASES)


def find(network: str, num_layers: Optional[int] = None) -> Network:
    """The network that `--network` and `--num-layers` name.

    The depth may stand in either: `resnet` with 50, `resnet50`, `resnet-50`; of a variant also as
    GluonCV writes it: `resnet-v1b` with 50, `resnet-v1b-50`, `resnet50_v1b`. `gluoncv/NAME` is
    GluonCV's network of that name, which is looked up when its graph is built. Raises InputError
    for a name that is none, with the nearest; for two depths; for a depth that the family lacks.
    """
    if network.startswith((GLUONCV, GLUONCV_RUN)):
        return _of_gluoncv(network, num_layers)
    name, depth = _parts(network)
    family = FAMILIES[name]
    if not family.depths:
        if num_layers is not None:
            raise InputError(f"--num-layers {num_layers}: {network} has one depth; leave it away")
    elif depth is not None and num_layers not in (None, depth):
        raise InputError(
            f"--num-layers {num_layers}: --network {network} says {depth}; leave one of them away"
        )
    else:
        depth = num_layers if depth is None else depth
        depth = family.default_depth if depth is None else depth
        if depth not in family.depths + family.more_depths:
            depths = family.depths_in_words or ", ".join(map(str, family.depths))
            raise InputError(f"--num-layers {depth}: {name} has {depths}")
    return Network(
        name=f"{name}-{depth}" if depth else name,
        family=family.module,
        num_layers=depth,
        image_shape=family.image_shape,
        initializer=family.initializer,
        build_options={**family.build_options, **({"num_layers": depth} if depth else {})},
        takes_activation=family.takes_activation,
    )


def get_symbol(
    network: str,
    num_classes: int,
    image_shape: Tuple[int, ...] = (3, 224, 224),
    num_layers: Optional[int] = None,
    activation: str = "relu",
) -> "mx.sym.Symbol":
    """The graph from `data`, float32 (batch, *image_shape), to `softmax`, (batch, num_classes).

    It ends in a SoftmaxOutput named `softmax`, whose labels `softmax_label` are (batch,). Raises
    InputError as `find`, for an option that the family lacks, and for images that are too small
    for the network or of a size at which it has another depth.
    """
    found = find(network, num_layers)
    options = dict(found.build_options)
    if found.takes_activation:
        options["activation"] = activation
    elif activation != "relu":
        raise InputError(f"--activation {activation}: {found.name} has relu only; leave it away")
    family = importlib.import_module(f"{__name__}.{found.family}")
    return family.get_symbol(num_classes, image_shape, **options)


def _of_gluoncv(network: str, num_layers: Optional[int]) -> Network:
    name = network[len(GLUONCV) :].lower()  # both prefixes are as long
    if num_layers is not None:
        raise InputError(f"--num-layers {num_layers}: {network} says its depth; leave it away")
    size = next((s for start, s in GLUONCV_SIZES.items() if name.startswith(start)), 224)
    return Network(
        name=GLUONCV_RUN + name,
        family="gluoncv_zoo",
        num_layers=None,
        image_shape=(3, size, size),
        initializer=MSRA,
        build_options={"name": name},
        takes_activation=False,
    )


def _parts(network: str) -> Tuple[str, Optional[int]]:
    """Name in the registry and depth, if it stands behind it or before its variant."""
    word = network.replace("_", "-")
    if ALIASES.get(word, word) in FAMILIES:
        return ALIASES.get(word, word), None
    behind = re.fullmatch(r"(.*?)-?([0-9]+)", word)
    between = re.fullmatch(r"([a-z]+)-?([0-9]+)-(.+)", word)
    for name, depth in (
        (behind[1], int(behind[2])) if behind else ("", 0),
        (f"{between[1]}-{between[3]}", int(between[2])) if between else ("", 0),
    ):
        name = ALIASES.get(name, name)
        if name in FAMILIES and depth in FAMILIES[name].depths + FAMILIES[name].more_depths:
            return name, depth
    raise InputError(
        f"--network {network}: no such network; {_nearest(network)}there are "
        f"{', '.join([*FAMILIES, *ALIASES])}, gluoncv/NAME; see docs/networks.md"
    )


def _nearest(network: str) -> str:
    """`did you mean NAME? `, or nothing when no name is near."""

    def likeness(name: str) -> Tuple[float, int]:
        # Of equally near names the one that begins the same: resnet51 means resnet50, not 18.
        ratio = difflib.SequenceMatcher(None, network.lower(), name).ratio()
        return ratio, len(os.path.commonprefix((network.lower(), name)))

    near = max(names(), key=likeness)
    return f"did you mean {near}? " if likeness(near)[0] > 0.6 else ""
