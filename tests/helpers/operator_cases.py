"""Networks of one operator each, which engines and exports have to compute as MXNet does."""

import numpy as np

from imagenet_trainer.graph import sym as S

SHAPE = (8, 9, 7)
X = S.Variable("data")
P = S.Variable("b", shape=(1, 8, 1, 1))


def convolutions():
    """Options of eight convolutions of different shapes."""
    random = np.random.RandomState(7)
    for _ in range(8):
        yield {
            "kernel": tuple(random.randint(1, 4, 2).tolist()),
            "num_filter": int(random.choice([4, 8, 12])),
            "stride": tuple(random.randint(1, 3, 2).tolist()),
            "pad": tuple(random.randint(0, 3, 2).tolist()),
            "dilate": tuple(random.randint(1, 3, 2).tolist()),
            "num_group": int(random.choice([1, 2, 4])), "no_bias": bool(random.randint(2)),
        }  # fmt: skip


def poolings():
    """Options of poolings, each kind with each convention."""
    random = np.random.default_rng(3)
    for kind in ("max", "avg", "sum"):
        for convention in ("valid", "full"):
            for include in (True, False, None):
                kernel = random.integers(2, 4, 2).tolist()
                yield {
                    "pool_type": kind, "pooling_convention": convention, "kernel": tuple(kernel),
                    # With pads, strides as wide as the kernel could put a window outside.
                    "stride": tuple(int(random.integers(1, k)) for k in kernel),
                    "pad": tuple(int(random.integers(0, k // 2 + 1)) for k in kernel),
                    "count_include_pad": include,
                }  # fmt: skip


EVERY_OPERATOR = [
    *(S.Activation(X, act_type=kind)
      for kind in ("relu", "sigmoid", "tanh", "softrelu", "softsign")),
    S.LeakyReLU(X), S.LeakyReLU(X, act_type="elu", slope=0.7),
    S.LeakyReLU(X, act_type="prelu", name="p"),
    S.LeakyReLU(X, S.Variable("one", shape=(1,)), act_type="prelu"),
    S.LeakyReLU(X, act_type="gelu"), S.clip(X, a_min=-0.3, a_max=0.6), S.hard_sigmoid(X),
    S.hard_sigmoid(X, alpha=0.5, beta=0.2),
    *(getattr(S, kind)(X) for kind in (
        "relu", "sigmoid", "tanh", "exp", "square", "abs", "negative", "erf", "softsign",
        "identity",
    )), S.BlockGrad(X) + X,
    X + 1.5, X - 1.5, 1.5 - X, X * 1.5, X / 1.5, X**2,
    S._internal._maximum_scalar(X, scalar=0.2), S._internal._minimum_scalar(X, scalar=0.2),
    *(getattr(S, f"broadcast_{kind}")(X, P)
      for kind in ("add", "sub", "mul", "div", "maximum", "minimum")),
    X + S.square(X), X - S.exp(X), X * S.square(X), X / S.exp(X),
    S._internal._maximum(X, S.square(X)), S._internal._minimum(X, S.square(X)),
    S.add_n(X, X * 2.0, S.square(X)), S.ones_like(X) + X, S.zeros_like(X) + X,
    S.mean(X, axis=(2, 3)), S.mean(X, axis=1, keepdims=True), S.sum(X, axis=1),
    S.mean(X, axis=1, exclude=True), S.max(X, axis=(2, 3)), S.sum(X), S.sum(X, keepdims=True),
    S.max(X, axis=(-1,)), S.mean(X, axis=0),
    S.softmax(X, axis=1), S.log_softmax(X, axis=1), S.SoftmaxActivation(X, mode="channel"),
    S.FullyConnected(X, num_hidden=5), S.FullyConnected(X, num_hidden=5, no_bias=True),
    S.FullyConnected(X, num_hidden=5, flatten=False),
    S.FullyConnected(X, num_hidden=5, flatten=False, no_bias=True),
    S.LRN(X, nsize=5, alpha=1e-2, beta=0.75, knorm=2.0), S.L2Normalization(X),
    S.L2Normalization(X, mode="channel"), S.L2Normalization(X, mode="spatial"),
    S.LayerNorm(X, name="ln"), S.LayerNorm(X, axis=1, name="ln", eps=1e-2),
    S.GroupNorm(X, S.Variable("g", shape=(4,)), S.Variable("b", shape=(4,)), num_groups=4),
    S.broadcast_add(X, S.ones((1, 8, 1, 1))) + S.broadcast_mul(X, S.zeros((1, 8, 9, 7))),
    S.UpSampling(X, scale=3, sample_type="nearest", num_args=1),
    *(S.contrib.AdaptiveAvgPooling2D(X, output_size=size) for size in (1, (3, 2), (3, 7))),
    *(S.contrib.BilinearResize2D(X, height=h, width=w, align_corners=a)
      for h, w, a in ((12, 11, True), (12, 11, False), (5, 4, False), (1, 4, True))),
    S.contrib.BilinearResize2D(
        X, S.Pooling(X, kernel=(2, 2), stride=(2, 2), pool_type="max"), mode="like"
    ),
    S.Concat(X, S.square(X), dim=1), S.Concat(X, X, dim=3), S.stack(X, S.square(X), axis=1),
    S.SliceChannel(X, num_outputs=4, axis=1)[2],
    S.SliceChannel(X, num_outputs=7, axis=3, squeeze_axis=True)[1],
    S.slice(X, begin=(None, 0, 1, 1), end=(None, None, None, None)),
    S.slice(X, begin=(None, 1), end=(None, 7), step=(None, 2)),
    S.slice(X, begin=(None, 7), end=(None, 2), step=(1, -2)),
    S.slice(X, begin=(None, None), end=(None, None), step=(1, -3)),
    S.slice_axis(X, axis=1, begin=2, end=-1), S.slice_axis(X, axis=-1, begin=1, end=None),
    S.slice_like(X, S.slice_axis(X, axis=2, begin=0, end=4), axes=(2,)),
    S.slice_like(X, S.slice_axis(X, axis=2, begin=0, end=4)), S.slice_like(X, X * 2.0),
    S.batch_dot(S.Reshape(X, shape=(-3, 0, 0)), S.Reshape(X, shape=(-3, 0, 0)),
                transpose_b=True),
    S.batch_dot(S.Reshape(X, shape=(-3, 0, 0)), S.Reshape(X, shape=(-3, 0, 0)),
                transpose_a=True),
    S.broadcast_like(S.Variable("token", shape=(1, 8, 1, 1)), X) * X,
    S.broadcast_like(S.mean(X, axis=(2, 3), keepdims=True), X),
    S.broadcast_axis(S.mean(X, axis=(2, 3), keepdims=True), axis=(2, 3), size=(4, 5)),
    S.SwapAxis(X, dim1=1, dim2=3), S.transpose(X, axes=(0, 2, 3, 1)),
    S.expand_dims(X, axis=1), S.expand_dims(X, axis=-1),
    S.squeeze(S.mean(X, axis=2, keepdims=True), axis=2),
    S.Pad(X, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 0, 3), constant_value=0.5),
    S.Pad(X, mode="edge", pad_width=(0, 0, 0, 0, 1, 2, 0, 3)),
    S.Pad(X, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 0, 3)),
    S.Cast(X, dtype="float32"), S.Flatten(X),
    S.Reshape(S.SwapAxis(S.Reshape(X, shape=(0, -4, 2, -1, -2)), dim1=1, dim2=2),
              shape=(0, -3, -2)),
]  # fmt: skip
