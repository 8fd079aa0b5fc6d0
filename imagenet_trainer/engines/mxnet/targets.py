"""Training targets: one label, smoothed labels, a mixture of two labels, a teacher's predictions.

Only labels and shares are copied to the device. A small graph in front of the network's label
input computes the targets there: SoftmaxOutput accepts class indices or distributions.
"""

import json
from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from imagenet_trainer.engines import Mix, Optimizer, Training, mixed_vectors
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system.mxnet_import import mx

LABEL, MIX_LABEL, MIX_SHARE = "softmax_label", "mix_label", "mix_share"
TEACHER, WEIGHTS = "teacher", "class_weights"  # (n, classes); the others are (n,)
# Keeps the logarithm of an underflown probability finite without hiding a NaN.
_TINY = 1.2e-38
_HALF_STEP = 2.0**-25  # the same for one minus a probability: half the step below 1
_NO_RANK = 1e9


class Targets:
    """The targets of a training: inputs besides the images, the graph for the targets, the counts.

    Parameters
    ----------
    training
        None for an engine that only predicts.
    classes
        number of classes of the network.
    vectors
        the length of the label vectors of a network that ends in a sigmoid; 0: labels are (n,).

    """

    def __init__(self, training: Optional[Training], classes: int, vectors: int = 0) -> None:
        how = training or Training(Optimizer("sgd", 0.0, 0.0))
        self._classes, self._vectors = classes, vectors
        self._smoothing, self._teacher = how.label_smoothing, how.teacher_weight
        self._mixup = how.mixup and not vectors
        self._bce, self._threshold = how.bce, how.bce_threshold
        self._top_k = how.top_k
        self._weights = np.array(how.class_weights, np.float32)
        self.inputs: Tuple[str, ...] = (LABEL, MIX_LABEL, MIX_SHARE) if self._mixup else (LABEL,)
        if self._teacher:
            self.inputs += (TEACHER,)
        if len(self._weights):
            self.inputs += (WEIGHTS,)

    def shape_of(self, name: str, size: int) -> Tuple[int, ...]:
        """The shape of an input of a batch of this size."""
        if name == LABEL and self._vectors:
            return (size, self._vectors)
        return (size, self._classes) if name in (TEACHER, WEIGHTS) else (size,)

    def arrays(
        self, labels: np.ndarray, mix: Optional[Mix], teacher: Optional[np.ndarray]
    ) -> Dict[str, np.ndarray]:
        """The inputs of a batch by name, from what `Engine.train_batch` is given."""
        arrays = {LABEL: mixed_vectors(labels, mix) if self._vectors else labels}
        if self._mixup and mix is not None:
            arrays.update({MIX_LABEL: mix.labels, MIX_SHARE: mix.shares})
        if teacher is not None:
            arrays[TEACHER] = teacher
        if len(self._weights):
            arrays[WEIGHTS] = np.broadcast_to(self._weights, (len(labels), self._classes))
        return arrays

    def added_to(self, symbol: "mx.sym.Symbol") -> "mx.sym.Symbol":
        """The network with targets computed from `inputs`; unchanged for plain labels.

        Raises ArgumentError for a network whose output is not a softmax, since only a softmax
        accepts distributions.
        """
        weighted = bool(len(self._weights))
        arguments = {
            "class_weights": weighted,
            "teacher": self._teacher,
            "bce_loss": self._bce,
            "mixup": self._mixup,
            "label_smoothing": self._smoothing,
        }
        given = [name for name, value in arguments.items() if value]
        if self._vectors or not given:
            return symbol
        graph = json.loads(symbol.tojson())
        if [graph["nodes"][node]["op"] for node, *_ in graph["heads"]] != ["SoftmaxOutput"]:
            raise ArgumentError(given[0], "", "needs a network that ends in a softmax; omit it")
        target = self._target()
        if weighted:
            return self._with_weights(symbol, target)
        return self._with_bce(symbol, target) if self._bce else symbol(softmax_label=target)

    def _with_weights(self, symbol: "mx.sym.Symbol", target: "mx.sym.Symbol") -> "mx.sym.Symbol":
        """Probabilities that pass no gradient, and the loss: SoftmaxOutput's gradient is p - y."""
        logits = symbol.get_children()[0]
        terms = mx.sym.Variable(WEIGHTS) * target * mx.sym.log_softmax(logits)
        loss = mx.sym.MakeLoss(-mx.sym.sum(terms, axis=1))
        return mx.sym.Group([mx.sym.BlockGrad(mx.sym.softmax(logits)), loss])

    def _with_bce(self, symbol: "mx.sym.Symbol", target: "mx.sym.Symbol") -> "mx.sym.Symbol":
        """Probabilities that pass no gradient, and the loss."""
        logits = symbol.get_children()[0]
        if self._threshold:
            target = target > self._threshold
        # -t log s(x) - (1 - t) log(1 - s(x)) is log(1 + e^x) - t x.
        losses = mx.sym.Activation(logits, act_type="softrelu") - logits * target
        loss = mx.sym.MakeLoss(mx.sym.mean(losses, axis=1))
        return mx.sym.Group([mx.sym.BlockGrad(mx.sym.softmax(logits)), loss])

    def _target(self) -> "mx.sym.Symbol":
        """Distributions (n, classes)."""
        weight = 1 - self._smoothing
        target = self._one_hot(LABEL, weight)
        if self._mixup:
            share = mx.sym.reshape(mx.sym.Variable(MIX_SHARE), shape=(-1, 1))
            other = self._one_hot(MIX_LABEL, weight)
            target = mx.sym.broadcast_mul(target, share) + mx.sym.broadcast_mul(other, 1 - share)
        if self._smoothing:
            target = target + self._smoothing / self._classes
        if self._teacher:
            target = (1 - self._teacher) * target + self._teacher * mx.sym.Variable(TEACHER)
        return target

    def _one_hot(self, name: str, value: float) -> "mx.sym.Symbol":
        return mx.sym.one_hot(mx.sym.Variable(name), depth=self._classes, on_value=value)

    def count(
        self, output: "mx.nd.NDArray", inputs: Mapping[str, "mx.nd.NDArray"]
    ) -> "mx.nd.NDArray":
        """Rank-1 hits, rank-5 hits, summed loss, rank-`top_k` hits of probabilities (n, classes).

        They are one array (4,) on the device of the probabilities.

        `inputs` are those of this device.
        """
        if self._vectors:
            return self._count_vectors(output, inputs[LABEL])
        label = inputs[LABEL].reshape((-1, 1))
        loss = self._loss(output, label)
        if self._mixup:
            other = inputs[MIX_LABEL].reshape((-1, 1))
            share = inputs[MIX_SHARE].reshape((-1, 1))
            # _TINY avoids 0 * log(0) for a label with share 0.
            loss = share * loss + (1 - share) * self._loss(output, other)
            label = mx.nd.where(share >= 0.5, label, other)
        if self._smoothing:
            uniform = -mx.nd.log(output + _TINY).mean(axis=1, keepdims=True)
            loss = (1 - self._smoothing) * loss + self._smoothing * uniform
        if self._teacher:
            theirs = -(inputs[TEACHER] * mx.nd.log(output + _TINY)).sum(axis=1, keepdims=True)
            loss = (1 - self._teacher) * loss + self._teacher * theirs
        return self._counts(_rank(output, label), loss)

    def _count_vectors(self, output: "mx.nd.NDArray", target: "mx.nd.NDArray") -> "mx.nd.NDArray":
        """As `count`, of sigmoids and targets (n, classes)."""
        losses = target * mx.nd.log(output + _TINY) + (1 - target) * mx.nd.log(
            1 - output + _HALF_STEP
        )
        right = target >= 0.5
        # Not `right * (output + 1)`, in which small probabilities are equal.
        best = mx.nd.argmax(right * output - (1 - right), axis=1, keepdims=True)
        # An image without a class has no rank.
        rank = _rank(output, best) + _NO_RANK * (1 - right.max(axis=1))
        return self._counts(rank, -losses.mean(axis=1))

    def _counts(self, rank: "mx.nd.NDArray", loss: "mx.nd.NDArray") -> "mx.nd.NDArray":
        hits = [(rank < k).sum() for k in (1, 5, self._top_k)]
        return mx.nd.concat(hits[0], hits[1], loss.sum(), hits[2], dim=0)

    @staticmethod
    def _loss(output: "mx.nd.NDArray", label: "mx.nd.NDArray") -> "mx.nd.NDArray":
        return -mx.nd.log(mx.nd.pick(output, label, axis=1, keepdims=True) + _TINY)


def _rank(output: "mx.nd.NDArray", label: "mx.nd.NDArray") -> "mx.nd.NDArray":
    """The ranks (n,) of labels (n, 1) among probabilities (n, classes).

    Of equal probabilities the lower class index comes first, as in metrics.ranks.
    """
    true = mx.nd.pick(output, label, axis=1, keepdims=True)
    classes = mx.nd.arange(output.shape[1], ctx=output.context).reshape((1, -1))
    ahead = mx.nd.broadcast_greater(output, true) + mx.nd.broadcast_equal(
        output, true
    ) * mx.nd.broadcast_lesser(classes, label)
    return ahead.sum(axis=1)
