"""The graphs of all networks are those that MXNet 1.9.1 builds from the same files.

`networks.json` has the facts: a digest of the JSON, and one of the names and shapes of all
parameters and inner outputs, for every network at several image sizes. It was made with MXNet:

    python tests/graph/test_networks.py tests/graph/networks.json

builds the networks by MXNet's own functions and writes it again.
"""

import hashlib
import importlib
import json
import pathlib
import sys

import pytest
from conftest import run

from imagenet_trainer import symbols
from imagenet_trainer.graph import Symbol, load_json
from imagenet_trainer.symbols.families import FAMILIES

FACTS = json.loads(pathlib.Path(__file__).with_name("networks.json").read_text())
BATCH, CLASSES = 2, 10


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def facts_of(symbol, shape):
    argument, _, auxiliary = symbol.infer_shape(data=(BATCH, *shape))
    inner = symbol.get_internals()
    _, outputs, _ = inner.infer_shape(data=(BATCH, *shape))
    listing = [
        *zip(symbol.list_arguments(), argument),
        *zip(symbol.list_auxiliary_states(), auxiliary),
        *zip(inner.list_outputs(), outputs),
    ]
    return [digest(symbol.tojson()), digest(json.dumps(listing))]


def built(case):
    name, activation, size = case.split()
    shape = tuple(map(int, size.split("x")))
    return symbols.get_symbol(name, CLASSES, shape, activation=activation), shape


def published(case):
    name, _, size = case.split()
    return size == "x".join(map(str, symbols.find(name).image_shape))


OTHERS = sorted(set(FACTS) - set(filter(published, FACTS)))


def test_every_network_has_facts():
    assert {case.split()[0] for case in FACTS} == set(symbols.names())


@pytest.mark.parametrize("case", sorted(filter(published, FACTS)))
def test_graphs_at_the_published_size(case):
    symbol, shape = built(case)
    assert isinstance(symbol, Symbol)
    assert facts_of(symbol, shape) == FACTS[case]
    text = symbol.tojson()
    assert load_json(text).tojson() == text


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(one, marks=() if number % 8 == 0 else pytest.mark.slow)
        for number, one in enumerate(OTHERS)
    ],
)
def test_graphs_at_other_sizes(case):
    symbol, shape = built(case)
    assert facts_of(symbol, shape) == FACTS[case]


def test_no_network_needs_mxnet():
    code = (
        "import sys; from imagenet_trainer import symbols; symbols.get_symbol('resnet50', 1000); "
        "print('mxnet' in sys.modules)"
    )
    assert run("-c", code).stdout.split() == ["False"]


def by_mxnet():
    """The facts of all cases, from networks that MXNet's functions build."""
    from imagenet_trainer.system.mxnet_import import mx

    for family in {family.module for family in FAMILIES.values()} | {"layers"}:
        module = importlib.import_module(f"imagenet_trainer.symbols.{family}")
        if hasattr(module, "sym"):
            module.sym = mx.sym
    symbols.as_graph = lambda symbol: symbol
    return {case: facts_of(*built(case)) for case in sorted(FACTS)}


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(json.dumps(by_mxnet(), indent=0) + "\n")
