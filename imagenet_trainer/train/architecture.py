"""Options of networks, as changes of their graphs: they work for every family.

Neither adds a parameter. So checkpoints fit the network without the option too, and any MXNet 1.x
program reads its JSON.
"""

from typing import Any, Optional, Tuple

from imagenet_trainer.config import FitSettings
from imagenet_trainer.config.flags import flag_with_value, is_set
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.graph import Node, Symbol, as_graph, sym
from imagenet_trainer.train.residual import branches

_CHANNELS = 16  # fewer are not blurred: those of the image, in FFCV too


def with_options(settings: FitSettings, symbol: Any, name: str) -> Symbol:
    """The network with --blur-pool and --stochastic-depth; InputError where it cannot have one."""
    symbol = as_graph(symbol)
    if settings.blur_pool:
        blurred = with_blur_pool(symbol, settings.image_shape)
        symbol = _changed(symbol, blurred, f"--blur-pool: {name} has no strided convolutions")
    if settings.stochastic_depth:
        deep = with_stochastic_depth(symbol, settings.stochastic_depth)
        symbol = _changed(symbol, deep, f"--stochastic-depth: {name} has no residual branches")
    return symbol


def refuse_options(settings: FitSettings, source: str) -> None:
    """InputError for options of a network that a file defines."""
    for name in ("blur_pool", "stochastic_depth"):
        if is_set(settings, name):
            raise InputError(
                f"{flag_with_value(settings, name)}: changes networks that have "
                f"a name, and this one is that of {source}; omit the flag"
            )


def _changed(before: Symbol, after: Symbol, reason: str) -> Symbol:
    """The symbol `after`; InputError with the reason if nothing was added to it."""
    if len(after.nodes) == len(before.nodes):
        raise InputError(f"{reason}; omit the flag")
    return after


def with_blur_pool(symbol: Symbol, image_shape: Any) -> Symbol:
    """The network with a blur in front of its strided convolutions (Zhang 2019, arXiv:1904.11486).

    The filter is [1, 2, 1] x [1, 2, 1] / 16 with zeros around the image, made of two averages over
    2 x 2 pixels. As in FFCV's training, convolutions of fewer than 16 channels have none. Where the
    strides are in average poolings over 2 x 2 pixels instead, as in DenseNet, another average in
    front makes these the filter, as in Zhang's own DenseNet.
    """
    strided = with_blurred_convolutions(symbol, image_shape)
    return strided if len(strided.nodes) > len(symbol.nodes) else with_blurred_means(symbol)


def with_blurred_means(symbol: Symbol) -> Symbol:
    """The network in which average poolings over 2 x 2 pixels of stride 2 are the filter."""
    halving = {"kernel": (2, 2), "stride": (2, 2), "pool_type": "avg", "global_pool": False}

    def blurred(node: Node, position: int, x: Symbol) -> Optional[Symbol]:
        if node.op != "Pooling" or any(node.values[key] != value for key, value in halving.items()):
            return None
        return _mean(x, 1, f"{node.name}_blur")

    return symbol.with_inputs(blurred)


def _mean(x: Symbol, pad: int, name: str) -> Symbol:
    """The average over 2 x 2 pixels at each position."""
    return sym.Pooling(
        x, kernel=(2, 2), stride=(1, 1), pad=(pad, pad), pool_type="avg", name=name
    )  # fmt: skip


def with_blurred_convolutions(symbol: Symbol, image_shape: Any) -> Symbol:
    """The network with the filter in front of its strided convolutions."""
    shapes, _ = parameter_shapes(symbol, image_shape)

    def blurred(node: Node, position: int, x: Symbol) -> Optional[Symbol]:
        if node.op != "Convolution" or position or max(node.values["stride"] or (1,)) == 1:
            return None
        channels = shapes[node.inputs[1].node.name][1] * node.values["num_group"]
        if channels < _CHANNELS:
            return None
        for step, pad in enumerate((1, 0)):
            x = _mean(x, pad, f"{node.name}_blur{step}")
        return x

    return symbol.with_inputs(blurred)


def with_stochastic_depth(symbol: Symbol, probability: float) -> Symbol:
    """The network whose residual branches are dropped at random (Huang et al. 2016).

    "Deep Networks with Stochastic Depth", arXiv:1603.09382. Each image drops branch l of L, counted
    from 1, with l / L times the probability, in training only; what remains is scaled so that its
    mean stays.
    """
    found = branches(symbol)
    dense = {n.inputs[1].node.name: n for n in symbol.nodes if n.op == "FullyConnected"}
    places = {(id(one.addition), one.position): k for k, one in enumerate(found, 1)}

    def dropped(node: Node, position: int, x: Symbol) -> Optional[Symbol]:
        number = places.get((id(node), position))
        if number is None:
            return None
        share = round(probability * number / len(found), 6)
        axes: Tuple[int, ...] = (1, 2, 3)
        layer = dense.get(found[number - 1].end)
        if layer is not None:  # (n, channels), or of each token
            axes = (1,) if layer.values["flatten"] else (1, 2)
        return sym.Dropout(x, p=share, axes=axes, name=f"{node.name}_drop")

    return symbol.with_inputs(dropped)
