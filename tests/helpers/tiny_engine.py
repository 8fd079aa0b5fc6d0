"""A network of two layers in each engine and, with the same parameters, in plain PyTorch."""

import numpy as np

from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import sym

BATCH, SIDE, CLASSES = 8, 12, 10
MEAN, STD = (120.0, 110.0, 100.0), (58.0, 57.0, 56.0)
EPS = 1e-3


def network(batch_norm=False, dropout=0.0):
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=8, name="conv")
    if batch_norm:
        x = sym.BatchNorm(x, fix_gamma=False, eps=EPS, name="bn")
    x = sym.Activation(x, act_type="relu")
    if dropout:
        x = sym.Dropout(x, p=dropout)
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=CLASSES, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")


def logits(tensors, images, training=True):
    """`network` in PyTorch; without `training` it uses the moving statistics."""
    import torch

    pixels = (torch.tensor(images.astype(np.float32)) - torch.tensor(MEAN)) / torch.tensor(STD)
    x = pixels.permute(0, 3, 1, 2)
    x = torch.nn.functional.conv2d(x, tensors["conv_weight"], tensors["conv_bias"])
    if "bn_gamma" in tensors:
        mean, var = (tensors[f"bn_moving_{name}"].clone() for name in ("mean", "var"))
        x = torch.nn.functional.batch_norm(
            x, mean, var, tensors["bn_gamma"], tensors["bn_beta"], training, eps=EPS
        )
    x = torch.relu(x).flatten(1)
    return torch.nn.functional.linear(x, tensors["fc_weight"], tensors["fc_bias"])


def first_parameters(symbol, seed=1):
    random = np.random.RandomState(seed)
    arg, aux = parameter_shapes(symbol, (3, SIDE, SIDE))
    values = {name: random.randn(*s) * 0.05 + name.endswith("gamma") for name, s in arg.items()}
    return (
        {name: value.astype(np.float32) for name, value in values.items()},
        {name: np.full(s, name.endswith("var"), np.float32) for name, s in aux.items()},
    )


def tensors_of(symbol):
    """The initial parameters as PyTorch tensors; moving statistics have no gradient."""
    import torch

    arg, aux = first_parameters(symbol)
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in arg.items()}
    return {**leaves, **{name: torch.tensor(value) for name, value in aux.items()}}


def gradients(values, images, labels):
    """Of the mean loss with respect to parameters of the network without BatchNorm."""
    import torch

    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    torch.nn.functional.cross_entropy(logits(tensors, images), torch.tensor(labels)).backward()
    return {name: value.grad.numpy() for name, value in tensors.items()}


def open_one(
    engine, symbol, rule="sgd", momentum=0.9, decay=1e-3, options=None, devices=None, bgr=False,
    mean=MEAN, std=STD, **training,
):  # fmt: skip
    """An engine with initial parameters.

    `options` are for Optimizer, `devices` for Devices, others for Training.
    """
    how = Training(Optimizer(rule, momentum, decay, **(options or {})), **training)
    where = Devices(engine=engine, **(devices or {}))
    made = open_engine(symbol, where, (BATCH, SIDE, SIDE, 3), mean, std, how, bgr=bgr)
    made.set_params(*first_parameters(symbol))
    return made


def engine_of(symbol, cpus=1, rule="sgd", **more):
    """`open_one` with the engine that is chosen for CPUs."""
    return open_one("auto", symbol, rule, devices={"cpus": cpus}, **more)


def everything(engine):
    """Parameters, moving statistics and state."""
    arg, aux = engine.get_params()
    return {**arg, **aux, **engine.get_state()}


def batches(count=6):
    random = np.random.RandomState(0)
    images = random.randint(0, 256, (count, BATCH, SIDE, SIDE, 3)).astype(np.uint8)
    return list(zip(images, random.randint(0, CLASSES, (count, BATCH))))


def train(engine, batches, rate=0.01, mixes=None):
    for number, (images, labels) in enumerate(batches):
        engine.train_batch(images, labels, rate, mixes[number] if mixes else None)
    return engine


def assert_close(engine, tensors, atol=1e-6):
    for name, value in engine.get_params()[0].items():
        np.testing.assert_allclose(value, tensors[name].detach().numpy(), atol=atol, err_msg=name)


def assert_near(ours, theirs, atol):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=atol, err_msg=name)


def assert_same(ours, theirs):
    """Assert that two (arg, aux) or two states are equal bit for bit."""
    for one, other in zip(ours, theirs) if isinstance(ours, tuple) else [(ours, theirs)]:
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], name)
