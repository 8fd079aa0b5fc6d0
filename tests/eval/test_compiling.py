"""Which commands compile the network, and where the kernels are kept."""

import numpy as np
import pytest
from helpers.tiny_engine import engine_of, first_parameters, network

from imagenet_trainer.config import EvaluateSettings, FitSettings, PredictSettings
from imagenet_trainer.engines.workers import ALONE
from imagenet_trainer.eval import classify, evaluator
from imagenet_trainer.eval import network as opening
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train import engine as training


class Opened(Exception):
    """The engine would be opened; the argument is its devices."""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with one checkpoint; opening an engine raises Opened."""
    run = Run(str(tmp_path / "model"))
    symbol = network()
    run.write_symbol(symbol.tojson())
    how = Preprocessing((3, 12, 12), (0.0,) * 3, (1.0,) * 3, 0)
    names = tuple((f"n{i}", f"class {i}") for i in range(10))
    state = {"updates": np.array(1)}
    run.save(Checkpoint(*first_parameters(symbol), Progress(1, 1), state, how, names), 1)

    def open_engine(symbol, devices, *rest, **more):
        raise Opened(devices)

    monkeypatch.setattr(opening, "open_engine", open_engine)
    monkeypatch.setattr(training, "open_engine", open_engine)
    return run


def opened(call):
    with pytest.raises(Opened) as caught:
        call()
    return caught.value.args[0]


def predicts(run, **settings):
    how = PredictSettings(gpus=(0,), **settings)
    return opened(lambda: classify.Classifier(how, run, 1, print))


def test_evaluation_compiles_on_gpus_and_keeps_the_kernels(run):
    how = EvaluateSettings(gpus=(0,))
    devices = opened(lambda: evaluator.Evaluator(how, run, [1], print))
    assert devices.is_compiled and devices.compile_cache == str(run.folder / "kernels")


def test_evaluation_on_cpus_does_not_compile(run):
    assert not opened(lambda: evaluator.Evaluator(EvaluateSettings(), run, [1], print)).is_compiled


def test_classifying_files_compiles_only_if_requested(run):
    assert not predicts(run).is_compiled
    assert predicts(run, compile="on").is_compiled


def test_a_run_that_cannot_be_written_keeps_no_kernels(run, monkeypatch):
    monkeypatch.setattr(opening.os, "access", lambda path, mode: path != run.folder)
    assert predicts(run).compile_cache == ""


def test_a_training_keeps_its_kernels(run):
    def begin(**more):
        return opened(
            lambda: training.open_training_engine(FitSettings(), network(), ALONE, **more)
        )

    assert begin(compile_cache="a/kernels").compile_cache == "a/kernels"
    assert begin().compile_cache == ""  # previews write no files


def test_memory_of_an_engine_for_images():
    memory = engine_of(network()).host_memory((2, 3, 4, 3))
    assert memory.shape == (2, 3, 4, 3) and memory.dtype == np.uint8
