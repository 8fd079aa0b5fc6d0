import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.tiny_engine import assert_same, batches, everything, network, open_one, train

from imagenet_trainer import symbols
from imagenet_trainer.engines.pytorch.graph import load_graph
from imagenet_trainer.engines.pytorch.recomputation import checkpointed
from imagenet_trainer.engines.symbol import parameter_shapes


def loaded(name, shape=(3, 32, 32)):
    symbol = symbols.get_symbol(name, 10, shape)
    return load_graph(symbol, *parameter_shapes(symbol, shape), torch.device("cpu"))


def kept_bytes(module, data, label):
    """Bytes that forward keeps for backward, each storage once, and parameters not at all."""
    own = {value.untyped_storage().data_ptr() for value in module.parameters()}
    held, alive = {}, []

    def pack(tensor):
        alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(data, label)
    return sum(held.values())


@pytest.mark.parametrize("name", [
    "resnet-20", "squeezenet1.1", pytest.param("densenet121", marks=pytest.mark.slow),
    pytest.param("alexnet", marks=pytest.mark.slow),
])  # fmt: skip
def test_gradients_are_the_same_and_less_is_kept(name):
    side = 64 if name in ("alexnet", "densenet121") else 28
    shape = (3, side, side)
    network_ = loaded(name, shape)
    data, label = torch.randn(4, *shape), torch.arange(4)
    random = torch.Generator().manual_seed(1)
    for value in network_.arg.values():
        value.data.normal_(0.05, 0.05, generator=random)
    results = []
    for module in (network_.training, checkpointed(network_.training, (4, *shape), 10)):
        torch.manual_seed(3)  # dropout
        outputs, loss, moments = module(data, label)
        loss.backward()
        gradients = {n: v.grad.clone() for n, v in network_.arg.items() if v.grad is not None}
        results.append((outputs[0], loss, *moments, *gradients.values()))
        for value in network_.arg.values():
            value.grad = None
    assert len(results[0]) == len(results[1]) > 3
    for ours, theirs in zip(*results):
        assert torch.equal(ours, theirs)
    code, plain = network_.training.code, kept_bytes(network_.training, data, label)
    less = kept_bytes(checkpointed(network_.training, (4, *shape), 10), data, label)
    assert network_.training.code == code
    assert less < (0.8 if name in ("alexnet", "squeezenet1.1") else 0.5) * plain


@pytest.mark.parametrize("more", [{"accumulate": 2}, {"bce": True}], ids=str)
def test_an_engine_trains_the_same_bits(more):
    symbol = network(batch_norm=True, dropout=0.5)
    plain = train(open_one("torch", symbol, **more), batches())
    ours = train(open_one("torch", symbol, checkpoint_activations=True, **more), batches())
    assert_same(everything(plain), everything(ours))
    np.testing.assert_array_equal(plain.read_counts(), ours.read_counts())
