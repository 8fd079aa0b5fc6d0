"""The table of kinds: each names a function that takes the settings listed."""

import importlib
import inspect
import json

import pytest

from imagenet_trainer import benchmark
from imagenet_trainer.config import BenchmarkSettings
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.errors import InputError
from imagenet_trainer.system import mxnet_import


def test_every_choice_has_a_row():
    kind = BenchmarkSettings.__dataclass_fields__["kind"]
    assert set(kind.metadata["choices"]) == {*benchmark.KINDS}  # the types of the function too


ALL = {**benchmark.KINDS, **{flag: kind for flag, (_, kind) in benchmark.INSTEAD.items()}}


@pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
def test_the_function_takes_the_settings(kind):
    if "torch" in kind.engines and not has_torch():
        pytest.skip("PyTorch is not installed")
    module = importlib.import_module(f"imagenet_trainer.benchmarks.{kind.module}")
    inspect.signature(getattr(module, kind.function)).bind(*kind.arguments)
    assert set(kind.arguments) <= set(BenchmarkSettings.__dataclass_fields__)
    assert ("images" in kind.arguments) == (kind.images is not None)


def test_images_given_replace_the_default(monkeypatch):
    calls = []
    module = importlib.import_module("imagenet_trainer.benchmarks.evaluation")
    monkeypatch.setattr(module, "numbers", lambda *values: calls.append(values))
    assert benchmark.main(["numbers"]) == 0
    assert benchmark.main(["numbers", "--images", "100", "--rounds", "2"]) == 0
    assert calls == [(50_000, 5), (100, 2)]


def test_the_function_returns_the_numbers(monkeypatch, tmp_path):
    module = importlib.import_module("imagenet_trainer.benchmarks.evaluation")
    monkeypatch.setattr(module, "numbers", lambda *values: {"all": 1.5, "loss": 0.5})
    found = benchmark(kind="numbers", images=100, json=tmp_path / "numbers.json")
    assert (found.kind, found["all"], dict(found)) == ("numbers", 1.5, {"all": 1.5, "loss": 0.5})
    assert json.loads((tmp_path / "numbers.json").read_text()) == dict(found)
    with pytest.raises(InputError, match=r"benchmark\.bottleneck"):
        benchmark(kind="bottleneck")
    with pytest.raises(InputError, match="--threads: has no effect"):
        benchmark(kind="numbers", threads=3)


@pytest.mark.parametrize(
    "words, owner",
    [
        ("train --threads 3", "loader, pack, reading"),
        ("checkpoint --images 100", "loader"),
        ("numbers --lock", "loader"),
        ("loader --beside 1", "train --beside"),
        ("train --beside 1 --images 100", "loader"),
        ("loader --against dali --lock", "loader"),
    ],
)
def test_flags_without_an_effect_are_refused(words, owner, capsys, monkeypatch):
    def ran(*values):
        raise AssertionError("it must not be measured")

    for kind in ALL.values():
        if "torch" in kind.engines and not has_torch():
            continue
        module = importlib.import_module(f"imagenet_trainer.benchmarks.{kind.module}")
        monkeypatch.setattr(module, kind.function, ran)
    assert benchmark.main(words.split()) == 2
    error = capsys.readouterr().err
    assert words.split()[-2 if words[-1].isdigit() else -1] in error and owner in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", ["train", "train --beside 1", "pack", "parity"])
def test_without_mxnet_nothing_begins(words, monkeypatch, capsys):
    monkeypatch.setattr(mxnet_import, "installation_problem", lambda: "MXNet is not installed")
    assert benchmark.main(words.split()) == 2
    error = capsys.readouterr().err
    assert f"error: {words.split()[0]}: MXNet is not installed; " in error and "pip" in error


@pytest.mark.parametrize("more", [{}, {"latency": 1}])
def test_less_than_a_batch_cannot_be_read(more):
    with pytest.raises(InputError, match="--images 64: reading takes batches of 256"):
        benchmark(kind="reading", images=64, **more)
