"""What a network is trained towards: one label, smoothed labels, or a mixture of two.

Targets are made on the device, by a small head in front of the network's label, from the labels
and shares that travel. The network behind it stays pure: SoftmaxOutput takes the number of a class
or a distribution over all.
"""

import json
from typing import List, Mapping, Optional, Tuple

import numpy as np

from imagenet_trainer.engines import Training
from imagenet_trainer.errors import InputError
from imagenet_trainer.system.mxnet_import import mx

LABEL, MIX_LABEL, MIX_SHARE = "softmax_label", "mix_label", "mix_share"
# Keeps the logarithm of an underflown probability finite without hiding a NaN.
_TINY = 1.2e-38


class Targets:
    """The targets of a training: its inputs beside the images, the head, the loss.

    Parameters
    ----------
    training
        its label_smoothing and mixup; None for an engine that only predicts.
    classes
        of the network.

    """

    def __init__(self, training: Optional[Training], classes: int) -> None:
        self._smoothing = training.label_smoothing if training else 0.0
        self._mixup = bool(training and training.mixup)
        self._classes = classes
        self.inputs: Tuple[str, ...] = (LABEL, MIX_LABEL, MIX_SHARE) if self._mixup else (LABEL,)

    def in_front_of(self, symbol: "mx.sym.Symbol") -> "mx.sym.Symbol":
        """The network with targets made of `inputs`, (n,) each; itself if labels are enough.

        Raises InputError for a network whose output is not a softmax, which alone takes
        distributions.
        """
        if not (self._smoothing or self._mixup):
            return symbol
        graph = json.loads(symbol.tojson())
        if [graph["nodes"][node]["op"] for node, *_ in graph["heads"]] != ["SoftmaxOutput"]:
            flag = "--mixup" if self._mixup else "--label-smoothing"
            raise InputError(f"{flag}: is for networks that end in a softmax; leave it away")
        kept = 1 - self._smoothing
        target = self._one_hot(LABEL, kept)
        if self._mixup:
            share = mx.sym.reshape(mx.sym.Variable(MIX_SHARE), shape=(-1, 1))
            other = self._one_hot(MIX_LABEL, kept)
            target = mx.sym.broadcast_mul(target, share) + mx.sym.broadcast_mul(other, 1 - share)
        if self._smoothing:
            target = target + self._smoothing / self._classes
        return symbol(softmax_label=target)

    def _one_hot(self, name: str, value: float) -> "mx.sym.Symbol":
        return mx.sym.one_hot(mx.sym.Variable(name), depth=self._classes, on_value=value)

    def count(
        self, output: "mx.nd.NDArray", inputs: Mapping[str, "mx.nd.NDArray"]
    ) -> "mx.nd.NDArray":
        """(rank-1 hits, rank-5 hits, summed loss) of probabilities (n, k), on their device.

        `inputs` are those of this device, (n,) each.
        """
        label = inputs[LABEL].reshape((-1, 1))
        loss = self._loss(output, label)
        if self._mixup:
            other = inputs[MIX_LABEL].reshape((-1, 1))
            share = inputs[MIX_SHARE].reshape((-1, 1))
            # Not 0 * log(0), nor the last bits of a number that no image is to.
            loss = share * loss + (1 - share) * self._loss(output, other)
            label = mx.nd.where(share >= 0.5, label, other)
        if self._smoothing:
            uniform = -mx.nd.log(output + _TINY).mean(axis=1, keepdims=True)
            loss = (1 - self._smoothing) * loss + self._smoothing * uniform
        true = mx.nd.pick(output, label, axis=1, keepdims=True)
        classes = mx.nd.arange(output.shape[1], ctx=output.context).reshape((1, -1))
        # Of equal probabilities the lower class index comes first, as in metrics.ranks.
        ahead = mx.nd.broadcast_greater(output, true) + mx.nd.broadcast_equal(
            output, true
        ) * mx.nd.broadcast_lesser(classes, label)
        rank = ahead.sum(axis=1)
        return mx.nd.concat((rank < 1).sum(), (rank < 5).sum(), loss.sum(), dim=0)

    @staticmethod
    def _loss(output: "mx.nd.NDArray", label: "mx.nd.NDArray") -> "mx.nd.NDArray":
        return -mx.nd.log(mx.nd.pick(output, label, axis=1, keepdims=True) + _TINY)


def number_of_classes(symbol: "mx.sym.Symbol", image_shape: Tuple[int, int, int]) -> int:
    """How many a network tells apart; image_shape is (channels, height, width)."""
    _, outputs, _ = symbol.infer_shape(data=(1, *image_shape))
    return int(np.prod(outputs[0][1:]))


def frozen_in(symbol: "mx.sym.Symbol", names: List[str]) -> "mx.sym.Symbol":
    """The network with the BatchNorms of frozen parameters normalising by moving statistics.

    A BatchNorm is frozen when its beta is, and its gamma unless that is fixed anyhow. Otherwise
    what a frozen layer computes would still change, with its statistics.
    """
    frozen, graph = set(names), json.loads(symbol.tojson())
    nodes = graph["nodes"]
    for node in nodes:
        if node["op"] != "BatchNorm":
            continue
        attributes = node.setdefault("attrs", {})
        gamma, beta = (nodes[source[0]]["name"] for source in node["inputs"][1:3])
        learns_gamma = attributes.get("fix_gamma", "True") in ("False", "0")
        if beta in frozen and (gamma in frozen or not learns_gamma):
            attributes["use_global_stats"] = "True"
    return mx.sym.load_json(json.dumps(graph))
