"""Initial parameters: a pure function of the seed and each parameter's name, in NumPy.

The values of a parameter depend only on the seed, its name, its shape and the initializer, not on
other parameters, the engine, the devices or the order. They are computed from the raw words of
NumPy's Philox generator, which are the same in all versions of NumPy; NumPy's distributions may
change, so this module computes its own.

The end of a parameter's name decides its rule, as in MXNet (`mx.init.Initializer`): weights, and
the embeddings of transformers, use the initializer; biases, betas and moving (in Gluon: running)
means are 0; gammas and moving variances are 1, and layer scales 1e-6. The initializers and their
defaults are those of `mx.init`.
"""

import difflib
import hashlib
import math
from typing import Any, Callable, Dict, Mapping, Sequence, Tuple, Union

import numpy as np

from imagenet_trainer.errors import InputError
from imagenet_trainer.symbols.convnext import LAYER_SCALE
from imagenet_trainer.system.arrays import Arrays

Shape = Tuple[int, ...]

EMBEDDINGS = ("cls_token", "pos_embed")  # of transformers; they have no weight decay
_ACTIVE = 10.0  # logits of trained networks seldom are below -10


def initial_parameters(
    shapes: Mapping[str, Shape],
    aux_shapes: Mapping[str, Shape],
    initializer: Union[str, Mapping[str, Any]],
    seed: int,
) -> Tuple[Arrays, Arrays]:
    """Initial values of all parameters, float32: (arguments, auxiliary states) by name.

    Parameters
    ----------
    shapes
        of the arguments to learn, without data and label.
    aux_shapes
        of the auxiliary states.
    initializer
        a name from INITIALIZERS, or a name with options:
        `{"name": "xavier", "rnd_type": "gaussian", "factor_type": "in", "magnitude": 2}`.
        `"except"` maps names of weights to other initializers.
    seed
        of the run.

    Raises InputError for an unknown name, TypeError for an unknown option, and ValueError for a
    parameter whose name or shape has no rule.

    """
    options: Dict[str, Any] = (
        dict(initializer) if isinstance(initializer, Mapping) else {"name": initializer}
    )
    name = options.pop("name")
    exceptions = options.pop("except", {})
    if name not in INITIALIZERS:
        near = difflib.get_close_matches(name, INITIALIZERS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"--initializer {name}: no such initializer; {hint}"
            f"choose one of {', '.join(INITIALIZERS)}"
        )

    def initial_value(parameter: str, shape: Shape) -> np.ndarray:
        if parameter.endswith(("weight", *EMBEDDINGS)):
            if parameter in exceptions:
                own = initial_parameters({parameter: shape}, {}, exceptions[parameter], seed)
                return own[0][parameter]
            stream = Stream(seed, parameter)
            return INITIALIZERS[name](shape, stream, **options).astype(np.float32)
        if parameter.endswith(("bias", "beta", "moving_mean", "running_mean")):
            return np.zeros(shape, np.float32)
        if parameter.endswith("layer_scale"):
            return np.full(shape, LAYER_SCALE, np.float32)
        if parameter.endswith(("gamma", "moving_var", "running_var")):
            return np.ones(shape, np.float32)
        raise ValueError(f"{parameter}: no rule for the initial values of such a name")

    return (
        {parameter: initial_value(parameter, shape) for parameter, shape in shapes.items()},
        {parameter: initial_value(parameter, shape) for parameter, shape in aux_shapes.items()},
    )


def new_classifier(
    shapes: Mapping[str, Shape], names: Sequence[str], rectified: bool, seed: int
) -> Arrays:
    """Initial weight, and bias if it has one, of a new last layer on trained features, float32.

    `names` are those of weight and bias. The weight is normal with a deviation of 0.01, as in
    Caffe's fine-tuning and in SqueezeNet's published last layer, and of at most 1 / sqrt(fan-in):
    the first predictions are almost uniform, whatever the scale of the features.

    Where a rectifier follows (`rectified`), the bias is 10, so that all outputs are active, and
    remain so: with a bias of 0 one half of them begins at zero, and an output that is zero for all
    images stays there. The softmax does not see a constant that is added to all classes.
    docs/transfer.md has the measurements.
    """
    weight, *biases = names
    fan_in = math.prod(shapes[weight][1:])
    values = normal(shapes[weight], Stream(seed, weight), min(0.01, fan_in**-0.5))
    return {
        weight: values.astype(np.float32),
        **{bias: np.full(shapes[bias], _ACTIVE * rectified, np.float32) for bias in biases},
    }


class Stream:
    """The random numbers of one parameter, float64."""

    def __init__(self, seed: int, name: str):
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def unit(self, count: int) -> np.ndarray:
        """(count,) uniform in [0, 1), with 53 bits."""
        return (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def uniform(self, bound: float, shape: Shape) -> np.ndarray:
        """Uniform in [-bound, bound)."""
        return (self.unit(math.prod(shape)) * (2 * bound) - bound).reshape(shape)

    def normal(self, deviation: float, shape: Shape) -> np.ndarray:
        """Normal around 0 (Box and Muller 1958)."""
        count = math.prod(shape)
        half = (count + 1) // 2
        radius = deviation * np.sqrt(-2 * np.log1p(-self.unit(half)))
        angle = 2 * math.pi * self.unit(half)
        both = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))
        return both[:count].reshape(shape)


# --- initializers: (shape, stream, options) to float64 values ------------------------------------


def xavier(
    shape: Shape,
    stream: Stream,
    rnd_type: str = "uniform",
    factor_type: str = "avg",
    magnitude: float = 3,
) -> np.ndarray:
    """Scale sqrt(magnitude / fan) (Glorot & Bengio 2010): the bound, or the standard deviation."""
    if len(shape) < 2:
        raise ValueError(f"xavier needs a weight of two dimensions or more, not of shape {shape}")
    window = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * window, shape[0] * window
    fan = {"avg": (fan_in + fan_out) / 2, "in": fan_in, "out": fan_out}[factor_type]
    draw = {"uniform": stream.uniform, "gaussian": stream.normal}[rnd_type]
    return draw(math.sqrt(magnitude / fan), shape)


def msra(shape: Shape, stream: Stream, factor_type: str = "avg", slope: float = 0.25) -> np.ndarray:
    """He et al. 2015 (arXiv:1502.01852), for a PReLU of the given slope."""
    return xavier(shape, stream, "gaussian", factor_type, 2 / (1 + slope**2))


def orthogonal(shape: Shape, stream: Stream, scale: float = 1.414) -> np.ndarray:
    """Rows or columns orthogonal, of length `scale` (Saxe et al. 2013, arXiv:1312.6120).

    The only one that uses LAPACK: its last bits may differ between machines.
    """
    square = stream.uniform(1, (shape[0], math.prod(shape[1:])))
    left, _, right = np.linalg.svd(square, full_matrices=False)
    return scale * (left if left.shape == square.shape else right).reshape(shape)


def normal(shape: Shape, stream: Stream, sigma: float = 0.01) -> np.ndarray:
    """Normal with standard deviation `sigma`."""
    return stream.normal(sigma, shape)


def uniform(shape: Shape, stream: Stream, scale: float = 0.07) -> np.ndarray:
    """Uniform in [-scale, scale)."""
    return stream.uniform(scale, shape)


def one(shape: Shape, stream: Stream) -> np.ndarray:
    """Ones; for tests that do not train."""
    return np.ones(shape)


def zero(shape: Shape, stream: Stream) -> np.ndarray:
    """Zeros; for tests that do not train."""
    return np.zeros(shape)


INITIALIZERS: Dict[str, Callable[..., np.ndarray]] = {
    "xavier": xavier,
    "msra": msra,
    "orthogonal": orthogonal,
    "normal": normal,
    "uniform": uniform,
    "one": one,
    "zero": zero,
}
