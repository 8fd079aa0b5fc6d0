import pytest
from conftest import needs_mxnet

from imagenet_trainer import fit, symbols
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.graph import GraphError, sym
from imagenet_trainer.symbols.summary import summarise, table
from imagenet_trainer.system.mxnet_import import mx


def layers(symbol, shape=(3, 8, 8)):
    return {layer.name: layer for layer in summarise(symbol, shape).layers}


# GFLOPs of papers and model zoos count a multiply-add as one: torchvision's tables (1.81, 4.09,
# 0.82, 0.35 at 224 pixels; its ResNets are version 1, with the stride on the 3 x 3).
@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet18", 1.81), ("resnet50", 4.09), ("squeezenet1.0", 0.82), ("squeezenet1.1", 0.35)],
)
def test_multiply_adds_are_the_published_ones(name, published):
    symbol = symbols.get_symbol(name, 1000)
    assert summarise(symbol, (3, 224, 224)).multiply_adds / 1e9 == pytest.approx(
        published, rel=0.01
    )


@pytest.mark.parametrize("depth", [18, 50])
def test_parameters_of_the_published_checkpoints(depth):
    # The published numbers include ResNet-v2's fixed gammas.
    summary = summarise(symbols.get_symbol("resnet", 1000, num_layers=depth), (3, 224, 224))
    assert summary.learned + summary.fixed == {18: 11_691_950, 50: 25_549_486}[depth]
    assert summary.fixed == 3


def test_layers_of_a_small_network():
    data = sym.var("data")
    x = sym.Convolution(data, kernel=(3, 3), pad=(1, 1), num_filter=4, name="conv")
    x = sym.BatchNorm(x, fix_gamma=False, name="bn")
    x = sym.Convolution(
        x, kernel=(3, 3), stride=(2, 2), pad=(1, 1), num_filter=8, num_group=2, no_bias=True,
        name="grouped",
    )  # fmt: skip
    x = sym.Deconvolution(x, kernel=(2, 2), stride=(2, 2), num_filter=5, no_bias=True, name="up")
    x = sym.Flatten(sym.Activation(x, act_type="relu", name="relu"), name="flat")
    x = sym.FullyConnected(x, num_hidden=10, name="fc")
    summary = summarise(sym.SoftmaxOutput(x, name="softmax"), (3, 8, 8))
    rows = {layer.name: layer for layer in summary.layers}
    assert list(rows) == ["conv", "bn", "grouped", "up", "relu", "flat", "fc", "softmax"]
    assert rows["conv"].output == (4, 8, 8)
    assert rows["conv"].parameters == 4 * 3 * 9 + 4
    assert rows["conv"].multiply_adds == 8 * 8 * 4 * 3 * 9
    assert rows["grouped"].output == (8, 4, 4)
    assert rows["grouped"].multiply_adds == 4 * 4 * 8 * (4 // 2) * 9
    assert rows["up"].output == (5, 8, 8)
    assert rows["up"].multiply_adds == 4 * 4 * 8 * 5 * 4
    assert rows["fc"].multiply_adds == 10 * 5 * 8 * 8 and rows["fc"].output == (10,)
    assert rows["bn"].parameters == 8 and rows["bn"].multiply_adds == 0
    assert rows["relu"].activation_bytes == 4 * 5 * 8 * 8
    assert rows["flat"].activation_bytes == 0  # a view of its input
    assert (summary.fixed, summary.statistics) == (0, 8)
    assert summary.learned == sum(layer.parameters for layer in summary.layers)
    assert summary.activation_bytes == sum(layer.activation_bytes for layer in summary.layers)


@needs_mxnet
def test_all_parameters_of_a_bound_network_are_counted():
    symbol = symbols.get_symbol("resnet", 10, (3, 28, 28), 20)
    summary = summarise(symbol, (3, 28, 28))
    executor = to_symbol(symbol).simple_bind(mx.cpu(), data=(1, 3, 28, 28))
    arguments = sum(
        value.size for name, value in executor.arg_dict.items()
        if name not in ("data", "softmax_label")
    )  # fmt: skip
    assert summary.learned + summary.fixed == arguments
    assert summary.statistics == sum(value.size for value in executor.aux_dict.values())


def test_gammas_are_fixed_by_default():
    # BatchNorm's own default.
    for operator in (sym.BatchNorm, sym.BatchNorm_v1):
        summary = summarise(operator(sym.var("data"), name="bn"), (3, 8, 8))
        assert (summary.learned, summary.fixed, summary.statistics) == (3, 3, 6)


def test_a_shared_parameter_counts_once():
    data, weight = sym.var("data"), sym.var("w")
    one = sym.FullyConnected(data, weight, num_hidden=12, no_bias=True, name="one")
    two = sym.FullyConnected(one, weight, num_hidden=12, no_bias=True, name="two")
    summary = summarise(two, (12,))
    rows = {layer.name: layer for layer in summary.layers}
    assert (rows["one"].parameters, rows["two"].parameters) == (144, 0)
    assert rows["two"].multiply_adds == 144 and summary.learned == 144


def test_several_outputs_and_products():
    data = sym.var("data")
    parts = sym.SliceChannel(data, num_outputs=2, name="split")  # 2 of (2, 6, 5)
    left = sym.Reshape(parts[0], shape=(-3, 6, 5), name="left")  # (2, 6, 5)
    right = sym.Reshape(parts[1], shape=(-3, 6, 5), name="right")
    x = sym.batch_dot(left, right, transpose_b=True, name="product")  # (2, 6, 6)
    y = sym.batch_dot(left, right, transpose_a=True, name="other")  # (2, 5, 5)
    rows = layers(sym.Group([x, y]), (4, 6, 5))
    assert rows["split"].activation_bytes == 4 * 4 * 6 * 5
    assert rows["product"].multiply_adds == 2 * 6 * 6 * 5
    assert rows["other"].multiply_adds == 2 * 5 * 5 * 6


@needs_mxnet
def test_activation_bytes_are_near_what_mxnet_allocates():
    # MXNet computes some layers in place, and allocates gradients in addition.
    symbol = symbols.get_symbol("squeezenet1.1", 1000)
    summary = summarise(symbol, (3, 224, 224))
    executor = to_symbol(symbol).simple_bind(mx.cpu(), data=(8, 3, 224, 224), grad_req="write")
    words = executor.debug_str().split()
    allocated = float(words[words.index("Total") + 1]) * 2**20
    assert 0.5 < allocated / (8 * summary.activation_bytes) < 1


def test_table():
    symbol = sym.FullyConnected(sym.var("data"), num_hidden=1000, name="fc")
    lines = table(summarise(symbol, (2000,)), batch_size=32).splitlines()
    assert lines[0].split() == [
        "layer", "operator", "output", "parameters", "multiply-adds", "activation", "MB",
    ]  # fmt: skip
    assert lines[1].split() == ["fc", "FullyConnected", "1000", "2,001,000", "2,000,000", "0.004"]
    assert "2,001,000 learned" in lines[3] and "8.0 MB" in lines[3]
    assert "0.002 G per image" in lines[4]


def test_unknown_shapes_are_refused():
    symbol = sym.FullyConnected(sym.var("other"), num_hidden=10, name="fc")
    with pytest.raises(GraphError):
        summarise(symbol, (3,))


def test_fit_summary(tmp_path, packed, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def summary_of(*flags):
        assert fit.main(["--summary", "--network", "squeezenet1.1", *map(str, flags)]) == 0
        return capsys.readouterr().out.splitlines()

    lines = summary_of()
    assert lines[0] == "squeezenet1.1: 1000 classes, images of 3 x 224 x 224"
    assert any(line.startswith("parameters: 1,235,496 learned") for line in lines)
    assert summary_of("--data-train", packed / "train.rec")[0].startswith(
        "squeezenet1.1: 3 classes"
    )
    assert summary_of("--num-classes", 7)[0].startswith("squeezenet1.1: 7 classes")
    assert not list(tmp_path.iterdir())
