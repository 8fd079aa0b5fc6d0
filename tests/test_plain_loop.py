"""tools/plain_fashion_mnist.py has the network, schedule and augmentation of the recipe."""

import argparse
import sys

import numpy as np
import pytest
from test_tools import tool

from imagenet_trainer import symbols
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.train.schedule import Schedule

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def plain():
    return tool("plain_fashion_mnist")


@pytest.fixture(scope="module")
def network(plain):
    torch.manual_seed(0)
    network = plain.Network().eval()
    for one in network.features:
        if isinstance(one, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(one.bias, 0, 0.3)
            torch.nn.init.uniform_(one.running_var, 0.5, 1.5)
            torch.nn.init.normal_(one.running_mean, 0, 0.3)
    return network


def parameters(network):
    """The parameters by the names of fast-cnn."""
    arg, aux = {}, {}
    for number in range(6):
        convolution, norm = network.features[3 * number : 3 * number + 2]
        name = f"conv{number}"
        arg[f"{name}_weight"] = convolution.weight
        arg[f"{name}_bn_gamma"], arg[f"{name}_bn_beta"] = norm.weight, norm.bias
        aux[f"{name}_bn_moving_mean"] = norm.running_mean
        aux[f"{name}_bn_moving_var"] = norm.running_var
    arg["fc1_weight"] = network.classifier.weight
    return [{k: v.detach().numpy() for k, v in part.items()} for part in (arg, aux)]


def test_the_network_is_fast_cnn(plain, network):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    mean, std = (plain.MEAN,) * 3, (plain.STD,) * 3
    symbol = symbols.get_symbol("fast-cnn", 10, (3, 28, 28))
    engine = open_engine(symbol, Devices(engine="torch"), (3, 28, 28, 3), mean, std)
    engine.set_params(*parameters(network))
    with torch.no_grad():
        expected = torch.softmax(network(plain.network_input(torch.from_numpy(images))), 1)
    found = engine.predict(np.repeat(images[..., None], 3, axis=3))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)


def test_the_rates_are_those_of_the_triangle(plain):
    arguments = argparse.Namespace(lr=0.1, peak_epoch=1.0, epochs=5)
    schedule = Schedule(0.1, "triangle", total=500, start=0.1 / 25, peak=100)
    rates = [plain.rate(update, 500, arguments) for update in range(500)]
    assert rates == pytest.approx([schedule.rate(update) for update in range(500)])


def test_every_image_is_mirrored_or_moved(plain):
    torch.manual_seed(0)
    image = np.random.default_rng(0).integers(1, 256, (6, 6), np.uint8)
    padded = np.pad(image, 2)
    possible = {
        padded[row : row + 6, column : column + 6][:, ::side].tobytes()
        for row in range(5) for column in range(5) for side in (1, -1)
    }  # fmt: skip
    found = plain.augmented(torch.from_numpy(image).expand(1000, 6, 6))
    assert {one.numpy().tobytes() for one in found} == possible and len(possible) == 50


def test_every_image_is_visited_once_an_epoch(plain):
    numbers = torch.cat([*plain.batches(10, 3, 4)])
    assert len(numbers) == 28
    for epoch in range(2):
        assert sorted(numbers[10 * epoch : 10 * epoch + 10].tolist()) == [*range(10)]


def test_a_short_training(plain, tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    for name, count in (("train", 32), ("t10k", 8)):
        labels = np.arange(count) % 10
        images = random.integers(0, 60, (count, 28, 28)) + 19 * labels[:, None, None]
        for kind, values, header in (("images-idx3", images, 16), ("labels-idx1", labels, 8)):
            data = bytes(header) + values.astype(np.uint8).tobytes()
            (tmp_path / f"{name}-{kind}-ubyte").write_bytes(data)
    words = ["plain", str(tmp_path), "--seeds", "0,1", "--epochs", "2", "--batch-size", "8"]
    monkeypatch.setattr(sys, "argv", words)
    plain.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("seed 0: ") and lines[-1].startswith("mean ")
