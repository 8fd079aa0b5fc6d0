"""Numbers of parameters and multiply-adds in docs/networks.md.

tests/convert/test_equal_networks.py compares the parameters of networks that torchvision, timm and
Gluon have too with theirs, tests/symbols/test_symbols.py those of ResNet-v2 with MXNet's.
"""

import math

import pytest
from conftest import ROOT

from imagenet_trainer import symbols
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.symbols.summary import summarise

WIDTHS = ("", "0.75", "0.5", "0.25")
REGNETS = ("400mf", "800mf", "1.6gf", "3.2gf", "8gf", "16gf", "32gf")
# Rows of the table by their first two cells: networks, classes, image height; 0 for the sizes that
# they were published for.
ROWS = {
    ("squeezenet1.0 (`squeezenet`)", ""): (["squeezenet1.0"], 1000, 224),
    ("squeezenet1.1", ""): (["squeezenet1.1"], 1000, 224),
    ("resnet (v2)", "18"): (["resnet-18"], 1000, 224),
    **{("", str(depth)): ([f"resnet-{depth}"], 1000, 224) for depth in (34, 101, 152, 200, 269)},
    ("", "**50**"): (["resnet-50"], 1000, 224),
    ("", "20, 32, 44, 56, 110: 6n+2 below 164"): (
        [f"resnet-{depth}" for depth in (20, 32, 44, 56, 110)], 10, 28,
    ),
    ("", "164 and on, to 1001: 9n+2"): (["resnet-164", "resnet-1001"], 10, 28),
    **{
        (name, "18, 34, **50**, 101, 152"): (
            [f"{name}-{depth}" for depth in (18, 34, 50, 101, 152)], 1000, 224,
        )
        for name in ("resnet-v1", "resnet-v1b")
    },
    **{
        (name, "18, 34, **50**, 101, 152"): (
            [f"{name.split()[0]}-{depth}" for depth in (18, 34, 50, 101, 152)], 1000, 224,
        )
        for name in ("resnet-v1d (`resnet-d`)", "seresnet (`se-resnet`)")
    },
    ("resnext (32x4d)", "**50**, 101"): (["resnext-50", "resnext-101"], 1000, 224),
    ("resnext-64x4d", "50, **101**"): (["resnext-64x4d-50", "resnext-64x4d-101"], 1000, 224),
    ("densenet", "**121**, 161, 169, 201"): (
        [f"densenet-{depth}" for depth in (121, 161, 169, 201)], 1000, 224,
    ),
    ("inception-bn", ""): (["inception-bn"], 1000, 224),
    **{
        (name, ""): ([name], 1000, 299)
        for name in ("inception-v3", "inception-7", "inception-resnet-v2")
    },
    ("googlenet", ""): (["googlenet"], 1000, 224),
    ("mobilenet, mobilenet0.75, 0.5, 0.25", ""): (
        [f"mobilenet{width}" for width in WIDTHS], 1000, 224,
    ),
    ("mobilenetv2, mobilenetv2-0.75, -0.5, -0.25", ""): (
        [f"mobilenetv2{width and '-' + width}" for width in WIDTHS], 1000, 224,
    ),
    ("mobilenetv3-large, mobilenetv3-small", ""): (
        ["mobilenetv3-large", "mobilenetv3-small"], 1000, 224,
    ),
    **{
        (f"efficientnet-{kind}0 to -{kind}4", ""): (
            [f"efficientnet-{kind}{n}" for n in range(5)], 1000, 0,
        )
        for kind in ("b", "lite")
    },
    **{
        (f"regnet-{kind}-{', '.join(REGNETS)}", ""): (
            [f"regnet-{kind}-{size}" for size in REGNETS], 1000, 224,
        )
        for kind in "xy"
    },
    ("convnext-tiny, -small, -base", ""): (
        [f"convnext-{size}" for size in ("tiny", "small", "base")], 1000, 224,
    ),
    ("vit-small (`vit-s16`)", ""): (["vit-small"], 1000, 224),
    **{
        (name, "11, 13, **16**, 19"): ([f"{name}-{d}" for d in (11, 13, 16, 19)], 1000, 224)
        for name in ("vgg", "vgg-bn")
    },
    ("alexnet", ""): (["alexnet"], 1000, 224),
    ("one-stage-cnn", ""): (["one-stage-cnn"], 2, 64),
    ("six-stage-cnn", ""): (["six-stage-cnn"], 2, 64),
    ("cifar-cnn", ""): (["cifar-cnn"], 10, 32),
    ("fast-cnn", ""): (["fast-cnn"], 10, 28),
}  # fmt: skip
QUICK = (
    "squeezenet1.1", "resnet-18", "mobilenet", "mobilenetv3-large", "alexnet", "one-stage-cnn",
    "cifar-cnn",
)  # fmt: skip
PARAMETERS = "parameters at 1,000 classes, learned"
MULTIPLY_ADDS = "multiply-adds, G"


def table():
    """The title row and the other rows as lists of cells."""
    lines = (ROOT / "docs" / "networks.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    first = next(i for i, row in enumerate(rows) if row[0] == "name")
    last = next(i for i, row in enumerate(rows) if row[0] == "fast-cnn")
    return rows[first], rows[first + 2 : last + 1]


def cell(key, title):
    titles, rows = table()
    (row,) = (row for row in rows if tuple(row[:2]) == key)
    return row[titles.index(title)]


def graphs(key):
    """The networks of a row, each with its shape of images."""
    networks, classes, side = ROWS[key]
    for one in networks:
        shape = (3, side, side) if side else symbols.find(one).image_shape
        yield symbols.get_symbol(one, classes, shape), shape


def test_every_row_is_known():
    assert sorted(tuple(row[:2]) for row in table()[1]) == sorted(ROWS)


# test_symbols.py has the papers' numbers of the small ResNets.
@pytest.mark.parametrize("key", [key for key in ROWS if "n+2" not in key[1]])
def test_parameters_of_the_table(key):
    counts = []
    for symbol, shape in graphs(key):
        arg, _ = parameter_shapes(symbol, shape)
        # Gammas that stay 1 are parameters of MXNet's and TensorFlow's checkpoints.
        own = {name: s for name, s in arg.items() if key[0] != "fast-cnn" or "gamma" not in name}
        counts.append(f"{sum(map(math.prod, own.values())):,}")
    assert cell(key, PARAMETERS).partition(" at ")[0] == " · ".join(counts)


@pytest.mark.parametrize(
    "key",
    [key if key_[0][0] in QUICK else pytest.param(key, marks=pytest.mark.slow)
     for key, key_ in ROWS.items()],
)  # fmt: skip
def test_multiply_adds_of_the_table(key):
    """They are those of `fit --summary`."""
    counts = [f"{summarise(*one).multiply_adds / 1e9:.3g}" for one in graphs(key)]
    assert cell(key, MULTIPLY_ADDS) == " · ".join(counts)
