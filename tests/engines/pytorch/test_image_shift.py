"""The gradient of a shift of the images against PyTorch's, which takes the images' gradient."""

import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer import symbols
from imagenet_trainer.engines.pytorch import graph as torch_graph
from imagenet_trainer.engines.pytorch.image_shift import shifts_of_images, with_shift
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import sym


@pytest.mark.parametrize(
    "kernel, stride, pad, dilate",
    [
        ((7, 7), (2, 2), (3, 3), (1, 1)),
        ((3, 5), (1, 3), (0, 2), (2, 1)),  # height and width differ
        ((1, 1), (), (), ()),
        ((2, 2), (2, 2), (3, 1), (1, 1)),  # outputs that read padding only
    ],
)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradient_is_that_of_the_images_summed(kernel, stride, pad, dilate, layout):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 11, 14).to(memory_format=layout)
    beta = torch.randn(3, requires_grad=True)
    weight = torch.randn(5, 3, *kernel, requires_grad=True)
    geometry = (stride or 1, pad or 0, dilate or 1)

    def gradients(output):
        mask = torch.linspace(-1, 1, output.numel()).reshape(output.shape)
        return torch.autograd.grad((output * mask).sum(), (beta, weight))

    wanted = torch.nn.functional.conv2d(x + beta.reshape(-1, 1, 1), weight, None, *geometry)
    shifted = x + beta.detach().reshape(-1, 1, 1)
    output = torch.nn.functional.conv2d(shifted, weight, None, *geometry)
    output = with_shift(output, shifted, beta, weight, stride=stride, pad=pad, dilate=dilate)
    torch.testing.assert_close(output, wanted)
    for ours, theirs in zip(gradients(output), gradients(wanted)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def _begin(fix_gamma=True, group=1):
    shifted = sym.BatchNorm(sym.Variable("data"), fix_gamma=fix_gamma, name="bn")
    return shifted, sym.Convolution(
        shifted, kernel=(3, 3), num_filter=6, num_group=group, name="conv"
    )


def test_only_where_nothing_else_needs_the_gradient():
    shifted, output = _begin()
    assert len(shifts_of_images(output)) == 1
    assert not shifts_of_images(_begin(fix_gamma=False)[1])  # gamma needs the images' gradient
    assert not shifts_of_images(_begin(group=3)[1])
    assert not shifts_of_images(sym.Flatten(output) + sym.Flatten(sym.relu(shifted)))
    assert not shifts_of_images(sym.Group([output, shifted]))


def test_a_resnet_has_the_same_gradients_without_the_one_of_its_images(monkeypatch):
    network = symbols.get_symbol("resnet-8", 4, (3, 28, 28))
    random = torch.Generator().manual_seed(0)
    images, label = torch.randn(2, 3, 28, 28, generator=random), torch.tensor([1, 3])

    def gradients():
        loaded = torch_graph.load_graph(
            network, *parameter_shapes(network, (3, 28, 28)), torch.device("cpu")
        )
        random.manual_seed(1)
        for value in loaded.arg.values():
            value.data = 0.1 * torch.randn(value.shape, generator=random)
        loaded.training(images, label)[1].backward()
        return {name: value.grad for name, value in loaded.arg.items() if value.requires_grad}

    ours = gradients()
    monkeypatch.setattr(torch_graph, "shifts_of_images", lambda symbol: set())
    theirs = gradients()
    assert ours["bn_data_beta"].abs().sum() > 0
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        if name == "bn_data_beta":
            torch.testing.assert_close(ours[name], gradient, rtol=1e-3, atol=1e-4)
        else:  # bit for bit
            assert torch.equal(ours[name], gradient), name
