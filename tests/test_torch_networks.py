"""Every registered network on both engines, from the same parameters: outputs and all gradients."""

import json

import numpy as np
import pytest
from test_networks import all_names, classes_of, smallest, smallest_shape

torch = pytest.importorskip("torch")

import symbols  # noqa: E402
from imagenet_trainer.engines import (  # noqa: E402
    Devices,
    Optimizer,
    Training,
    open_engine,
    parameter_shapes,
    torch_graph,
)
from imagenet_trainer.initializers import initial_parameters  # noqa: E402
from imagenet_trainer.mxnet_import import mx  # noqa: E402

BATCH = 4
# Small networks of several families: compared always, all of them in the slow test.
QUICK = ("resnet-20", "squeezenet1.1", "mobilenet0.25", "mobilenetv2-0.25", "cifar-cnn")


class Both:
    """Outputs and gradients of a network on both engines, in float32 and in float64."""

    def __init__(self, name):
        self.symbol, shape = smallest(name), smallest_shape(name)
        self.shapes = parameter_shapes(self.symbol, shape)
        start = symbols.find(name).initializer
        self.arg, self.aux = initial_parameters(*self.shapes, start, 0)
        random = np.random.RandomState(0)
        self.images = random.randn(BATCH, *shape) * 50
        self.labels = random.randint(0, classes_of(name), BATCH)

    def mxnet(self, dtype):
        names = (*self.symbol.list_arguments(), *self.symbol.list_auxiliary_states())
        bound = self.symbol.simple_bind(
            mx.cpu(),
            data=self.images.shape,
            grad_req="write",
            type_dict=dict.fromkeys(names, dtype),
        )
        bound.copy_params_from(
            {name: mx.nd.array(value, dtype=dtype) for name, value in self.arg.items()},
            {name: mx.nd.array(value, dtype=dtype) for name, value in self.aux.items()},
        )
        data = mx.nd.array(self.images, dtype=dtype)
        outputs = bound.forward(is_train=True, data=data, softmax_label=self.labels)
        first = outputs[0].asnumpy()
        bound.backward()
        mx.nd.waitall()
        moved = {name: value.asnumpy() for name, value in bound.aux_dict.items()}
        return {n: bound.grad_dict[n].asnumpy() for n in self.arg} | {"output": first}, moved

    def torch(self, dtype):
        network = torch_graph.load_graph(self.symbol.tojson(), *self.shapes, torch.device("cpu"))
        for name, value in network.arg.items():
            torch_graph.to_tensor(self.arg[name], value)
        kind = getattr(torch, dtype)
        network.training.to(kind)
        images = torch.from_numpy(self.images).to(kind, memory_format=torch.channels_last)
        outputs, loss, moments = network.training(images, torch.from_numpy(self.labels))
        loss.backward()
        found = {n: v.grad.numpy() for n, v in network.arg.items() if v.requires_grad}
        moved = {}
        for place, statistic in enumerate(network.statistics):
            for part, name in enumerate((statistic.mean, statistic.variance)):
                new = moments[2 * place + part].numpy()
                kept = statistic.momentum
                moved[name] = kept * self.aux[name] + (1 - kept) * new
        return found | {"output": outputs[0].detach().numpy()}, moved


def distances(ours, theirs):
    """Relative to the tensor as a whole, by name: its elements are sums that may cancel.

    Some tensors are nought but for rounding, as the gradient of a bias in front of a BatchNorm is:
    so no tensor counts for smaller than a millionth of the largest.
    """
    floor = 1e-6 * max(np.linalg.norm(value) for value in theirs.values())
    return {
        name: np.linalg.norm(value - theirs[name]) / max(np.linalg.norm(theirs[name]), floor)
        for name, value in ours.items()
    }


def check_double(both):
    """The two compute the same function: nothing but rounding is between them."""
    (ours, our_aux), (theirs, their_aux) = both.torch("float64"), both.mxnet("float64")
    assert ours.keys() >= {name for name, value in theirs.items() if np.any(value)} - {"data"}
    assert max(distances(ours, theirs).values()) < 1e-6
    assert our_aux.keys() <= their_aux.keys()
    assert not our_aux or max(distances(our_aux, their_aux).values()) < 1e-6
    return theirs


@pytest.mark.parametrize("name", QUICK)
def test_small_networks_are_the_same_function(name):
    check_double(Both(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", all_names())
def test_every_network_is_the_same_function(name):
    both = Both(name)
    exact = check_double(both)
    # In float32 a unit whose input is nought but for rounding may be on in one engine and off in
    # the other, which moves gradients by more than rounding does; in MXNet as far from its own
    # float64. So: within 1e-4, or within three times what float32 costs MXNet or PyTorch alone.
    (ours, _), (theirs, _) = both.torch("float32"), both.mxnet("float32")
    apart, of_mxnet, of_ours = (
        distances(ours, theirs), distances(theirs, exact), distances(ours, exact)
    )  # fmt: skip
    for tensor, far in apart.items():
        assert far < max(1e-4, 3 * of_mxnet[tensor], 3 * of_ours[tensor]), tensor


def smooth(symbol):
    """With log(1 + e^x) for max(0, x).

    Where an input is nought but for rounding, a relu is on in one engine and off in the other, and
    from that update on two runs differ by more than rounding (seen with resnet-20 in update 42).
    """
    graph = json.loads(symbol.tojson())
    for node in graph["nodes"]:
        if node["op"] == "Activation":
            node["attrs"]["act_type"] = "softrelu"
    return mx.sym.load_json(json.dumps(graph))


# With BatchNorm and with none; what dropout there is, `smallest` turns off.
@pytest.mark.parametrize("name, rate", [("resnet-20", 1e-3), ("squeezenet1.1", 1e-2)])
def test_fifty_updates_on_either_engine_or_half_and_half(name, rate):
    symbol, shape = smooth(smallest(name)), smallest_shape(name)
    start = initial_parameters(*parameter_shapes(symbol, shape), symbols.find(name).initializer, 0)
    random = np.random.RandomState(1)
    images = random.randint(0, 256, (50, BATCH, *shape[1:], 3)).astype(np.uint8)
    labels = random.randint(0, classes_of(name), (50, BATCH))

    def opened(engine, params, state=None):
        made = open_engine(
            symbol, Devices(engine=engine), (BATCH, *shape[1:], 3), (123, 117, 104), (58, 57, 57),
            Training(Optimizer("sgd", 0.9, 1e-4)),
        )  # fmt: skip
        made.set_params(*params)
        if state:
            made.set_state(state)
        return made

    def trained(engine, first, last):
        for update in range(first, last):
            engine.train_batch(images[update], labels[update], rate)
        return engine

    halves = {engine: trained(opened(engine, start), 0, 25) for engine in ("mxnet", "torch")}
    left = {name: (half.get_params(), half.get_state()) for name, half in halves.items()}
    wanted, ours = (trained(halves[name], 25, 50).get_params() for name in ("mxnet", "torch"))
    others = {
        "torch": ours,
        "torch, then mxnet": trained(opened("mxnet", *left["torch"]), 25, 50).get_params(),
        "mxnet, then torch": trained(opened("torch", *left["mxnet"]), 25, 50).get_params(),
    }
    went = sum(np.linalg.norm(wanted[0][name] - start[0][name]) ** 2 for name in start[0]) ** 0.5
    assert went > 0.01
    for how, (arg, aux) in others.items():
        off = sum(np.linalg.norm(arg[name] - wanted[0][name]) ** 2 for name in arg) ** 0.5
        assert off < 1e-3 * went, how
        for name, value in aux.items():
            scale = np.linalg.norm(wanted[1][name])
            assert np.linalg.norm(value - wanted[1][name]) < 1e-3 * scale, (how, name)
