"""Every registered network on both engines, from the same parameters: outputs and all gradients."""

import numpy as np
import pytest
from helpers.networks import all_names, classes_of, smallest, smallest_shape

torch = pytest.importorskip("torch")

from imagenet_trainer import symbols
from imagenet_trainer.benchmarks import nondifferentiable, parity
from imagenet_trainer.engines import Devices, Optimizer, Training
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.pytorch import graph as torch_graph
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.train.initializers import initial_parameters

# Small networks with different operators; -m slow compares all networks.
QUICK = ("resnet-20", "squeezenet1.1", "mobilenetv2-0.25")
MEAN, STD = (123, 117, 104), (58, 57, 57)


def check_parity(of):
    """The same function in float64, and in float32 the same to 1e-4."""
    exact, exact_mxnet = parity.by_torch(of, "float64"), parity.by_mxnet(of, "float64")
    same = parity.difference(exact, exact_mxnet, exact)
    # MXNet computes GELU in float32, whatever the type of its input.
    gelu = any(node.values.get("act_type") == "gelu" for node in of.symbol.nodes)
    most = 1e-6 if gelu else 1e-9
    assert same.output < most and same.worst[0] < most, same.worst
    assert same.statistics < 1e-6  # MXNet stores BatchNorm's momentum 0.9 in float32
    # Only gammas that the symbol fixes have a gradient in MXNet, of zeros, and none here.
    missing = exact_mxnet.gradients.keys() - exact.gradients.keys()
    assert not any(np.any(exact_mxnet.gradients[name]) for name in missing)
    assert exact.statistics.keys() == exact_mxnet.statistics.keys()
    ours, theirs = parity.by_torch(of, "float32"), parity.by_mxnet(of, "float32")
    between = parity.difference(ours, theirs, exact)
    assert between.output < 1e-4
    assert between.statistics < 1e-4
    assert between.worst[0] < 1e-4, between.worst


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in all_names()]
)
def test_every_network_agrees(name):
    check_parity(parity.case_of(name))


def test_a_wrong_number_is_detected():
    of = parity.case_of("resnet-20", batch=4)
    exact = parity.by_torch(of, "float64")
    of.arg["stage1_unit1_bn1_gamma"][0] *= 1.01
    found = parity.difference(parity.by_torch(of, "float32"), exact, exact)
    assert found.output > 1e-4 and found.worst[0] > 1e-3 and found.statistics > 1e-4


# --- many updates --------------------------------------------------------------------------------


def opened(symbol, shape, batch, engine, params, state=None):
    made = open_engine(
        symbol, Devices(engine=engine), (batch, *shape[1:], 3), MEAN, STD,
        Training(Optimizer("sgd", 0.9, 1e-4)),
    )  # fmt: skip
    made.set_params(*params)
    if state:
        made.set_state(state)
    return made


def certain_batches(name, symbol, shape, batch, start, rate, updates):
    """Batches on which no unit of a run is at its breakpoint, and MXNet's engine after them.

    From a unit that is on in one engine and off in the other two runs go their own ways, by a
    tenth more with every update (measured), on either engine. So each batch is the first of a
    sequence of random ones of whose every decision float32 is sure, at the run's parameters.
    """
    engine, random, chosen = (
        opened(symbol, shape, batch, "mxnet", start),
        np.random.default_rng(1),
        [],
    )
    mean, std = (np.array(value, np.float64)[:, None, None] for value in (MEAN, STD))
    networks = [parity.torch_network(symbol, *start, kind) for kind in ("float64", "float32")]
    while len(chosen) < updates:
        images = random.integers(0, 256, (batch, *shape[1:], 3), np.uint8)
        labels = random.integers(0, classes_of(name), batch)
        planes = torch.from_numpy((images.transpose(0, 3, 1, 2) - mean) / std)
        params = engine.get_params()[0]
        for network in networks:
            for key, value in network.arg.items():
                torch_graph.to_tensor(params[key], value)
        if nondifferentiable.certainty(*networks, planes, torch.from_numpy(labels)) > 5:
            engine.train_batch(images, labels, rate)
            chosen.append((images, labels))
    return chosen, engine.get_params()


def check_updates(name, rate, updates, batch=4):
    symbol, shape = smallest(name), smallest_shape(name)
    start = initial_parameters(*parameter_shapes(symbol, shape), symbols.find(name).initializer, 0)
    batches, wanted = certain_batches(name, symbol, shape, batch, start, rate, updates)
    half = updates // 2

    def trained(engine, part):
        for images, labels in part:
            engine.train_batch(images, labels, rate)
        return engine

    first_halves = {e: trained(opened(symbol, shape, batch, e, start), batches[:half])
              for e in ("mxnet", "torch")}  # fmt: skip
    left = {e: (one.get_params(), one.get_state()) for e, one in first_halves.items()}
    others = {"torch": trained(first_halves["torch"], batches[half:]).get_params()}
    for first, second in (("torch", "mxnet"), ("mxnet", "torch")):
        engine = opened(symbol, shape, batch, second, *left[first])
        others[f"{first}, then {second}"] = trained(engine, batches[half:]).get_params()
    went = sum(np.linalg.norm(wanted[0][key] - start[0][key]) ** 2 for key in start[0]) ** 0.5
    assert went > 0.01
    for how, (arg, aux) in others.items():
        off = sum(np.linalg.norm(arg[key] - wanted[0][key]) ** 2 for key in arg) ** 0.5
        assert off < 1e-3 * went, (how, off / went)
        for key, value in aux.items():
            scale = np.linalg.norm(wanted[1][key])
            assert np.linalg.norm(value - wanted[1][key]) < 1e-3 * scale, (how, key)


# With BatchNorm and without, with their rectifiers; `smallest` disables dropout.
@pytest.mark.parametrize("name, rate", [("resnet-20", 1e-3), ("squeezenet1.1", 1e-2)])
@pytest.mark.parametrize("updates", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_updates_on_either_engine_or_half_and_half(name, rate, updates):
    check_updates(name, rate, updates)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, rate",
    [("resnet-18", 1e-3), ("resnet-v1-18", 1e-3), ("mobilenet0.25", 1e-3), ("densenet-121", 1e-3),
     ("googlenet", 1e-3), ("vgg-11", 1e-3), ("cifar-cnn", 1e-4)],
)  # fmt: skip
def test_fifty_updates_of_larger_networks(name, rate):
    check_updates(name, rate, 50)
