"""--network net.py and --network model-symbol.json."""

import re

import pytest
from conftest import needs_mxnet, one_line_failure, words_of_fit

from imagenet_trainer import evaluate, fit, symbols
from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system import mxnet_import

SHAPE = (3, 16, 16)
NET = """
from __future__ import annotations
from dataclasses import dataclass
from imagenet_trainer.graph import sym

@dataclass
class Layer:
    filters: int

def get_symbol(num_classes, image_shape, num_layers=1):
    assert image_shape == (3, 16, 16)
    x = sym.Variable("data")
    for number in range(num_layers):
        x = sym.Convolution(x, num_filter=Layer(4).filters, kernel=(3, 3), name=f"conv{number}")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=num_classes, name="fc")
    return sym.SoftmaxOutput(x, name="softmax")
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def test_a_python_file(path):
    known = symbols.find(str(path))
    assert (known.name, symbols.find(str(path), 2).name) == ("net", "net-2")
    symbol = symbols.get_symbol(str(path), 5, SHAPE)
    assert symbol.list_arguments() == [
        "data", "conv0_weight", "conv0_bias", "fc_weight", "fc_bias", "softmax_label"
    ]  # fmt: skip
    assert "conv1_weight" in symbols.get_symbol(str(path), 5, SHAPE, 2).list_arguments()


@needs_mxnet
def test_a_file_of_mxnet(path):
    """A family of MXNet's scripts: it takes more arguments, and returns MXNet's symbol."""
    text = NET.replace("from imagenet_trainer.graph import sym", "from mxnet import sym")
    path.write_text(text.replace("num_layers=1)", "num_layers=1, **kwargs)"))
    ours = symbols.get_symbol(str(path), 5, SHAPE)
    path.write_text(NET)
    assert ours.list_arguments() == symbols.get_symbol(str(path), 5, SHAPE).list_arguments()


def test_a_file_that_needs_mxnet(path, monkeypatch):
    monkeypatch.setattr(mxnet_import, "installation_problem", lambda: "MXNet is not installed")
    path.write_text("import mxnet\n" + NET)
    with pytest.raises(ArgumentError, match="imports MXNet: MXNet is not installed; ") as e:
        symbols.get_symbol(str(path), 5, SHAPE)
    assert "correct the file" not in str(e.value)


def test_a_json_file(path, tmp_path):
    symbol = symbols.get_symbol(str(path), 5, SHAPE)
    file = tmp_path / "model-symbol.json"
    file.write_text(symbol.tojson())
    assert symbols.find(str(file)).name == "model"
    assert symbols.get_symbol(str(file), 5, SHAPE).tojson() == symbol.tojson()
    with pytest.raises(ArgumentError, match=r"has 5 classes where the images have 3; .*pretrained"):
        symbols.get_symbol(str(file), 3, SHAPE)
    with pytest.raises(ArgumentError, match="has one depth"):
        symbols.find(str(file), 18)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("x = sym.Variable", "x = smy.Variable"), "line 12: NameError: name 'smy'"),
        (("def get_symbol(", "def get_symbol(("), "line 10: SyntaxError"),
        (("def get_symbol", "def network"), "has no function get_symbol"),
        (("num_hidden=num_classes", "num_hidden=7"), "has 7 classes where the images have 5"),
        (("return sym.SoftmaxOutput(x, name=\"softmax\")", "return x"), "is not a classifier"),
        (("return sym.SoftmaxOutput(x, name=\"softmax\")", "return 3"), "TypeError"),
        (('Variable("data")', 'Variable("image")'), "is not a classifier"),
        (('name=f"conv{number}"', 'name="fc"'), "has 2 parameters fc_weight; give each layer"),
        (("sym.Flatten(x)", "sym.broadcast_add(x, sym.var('y'))"), "shape does not follow"),
        (("kernel=(3, 3)", "kernel=(33, 33)"), "does not take images"),
        (("assert image_shape", "exit(3)\n    assert image_shape"), "SystemExit"),
    ],
)  # fmt: skip
def test_files_that_are_no_network(path, change, message):
    path.write_text(NET.replace(*change))
    assert path.read_text() != NET
    with pytest.raises(ArgumentError, match=re.escape(message)) as caught:
        symbols.get_symbol(str(path), 5, SHAPE)
    assert "\n" not in str(caught.value)


def test_a_run_of_a_file(path, packed, tmp_path, capsys):
    """It needs the file only to be continued, and then the same one."""
    words = [*words_of_fit(packed), "--network", str(path), "--num-epochs", "1"]
    at = words.index("--num-layers")
    del words[at : at + 2]
    words += ["--lr", "1e-5", "--model-prefix", str(tmp_path / "run" / "model")]
    assert fit.main(words) == 0
    path.write_text(NET.replace("Layer(4).filters", "4, pad=(0, 0), stride=(1, 1)"))
    refused = one_line_failure(fit.main, "fit", capsys)
    assert "is another network than that of" in refused(*words, "--num-epochs", "2")
    path.write_text(NET)
    assert fit.main([*words, "--num-epochs", "2"]) == 0
    path.unlink()
    assert evaluate.main(["--model-prefix", str(tmp_path / "run" / "model")]) == 0
    assert "no such file" in refused(*words)
