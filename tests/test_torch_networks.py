"""Every registered network on both engines, from the same parameters: outputs and all gradients."""

import numpy as np
import pytest
from test_networks import all_names, classes_of, smallest, smallest_shape

torch = pytest.importorskip("torch")

import symbols  # noqa: E402
from imagenet_trainer.engines import parameter_shapes, torch_graph  # noqa: E402
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
