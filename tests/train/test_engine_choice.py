import json
import os
from types import SimpleNamespace

import pytest
from conftest import HAS_MXNET, words_of_fit
from helpers.fit_runs import assert_same, parameters

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.engines import speeds
from imagenet_trainer.engines.choice import has_torch
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system import machine
from imagenet_trainer.train import engine_choice, session
from imagenet_trainer.train.engine_choice import with_engine

pytestmark = pytest.mark.skipif(not (has_torch() and HAS_MXNET), reason="for two engines")
FASTER_WITH_TORCH = {("mxnet", "float32"): 2.0, ("torch", "float32"): 3.0,
                     ("mxnet", "bfloat16"): 2.0, ("torch", "bfloat16"): 2.02}  # fmt: skip


@pytest.fixture
def engine_of(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prefix = ["--model-prefix", str(tmp_path / "run" / "net")]

    def engine_of(*words):
        words = ["--network", "resnet", "--num-layers", "20", "--image-shape", "3,28,28", *words]
        settings = flags.parse(FitSettings, [*prefix, *words], "fit", "")
        return with_engine(settings)[0].engine

    return engine_of


def test_a_new_run_takes_the_engine_that_was_measured_as_faster(engine_of):
    assert engine_of() == "auto"
    speeds.keep("resnet-20", (3, 28, 28), FASTER_WITH_TORCH)
    assert engine_of() == "torch"
    assert engine_of("--engine", "mxnet") == "mxnet"
    # Nothing was measured for these, or PyTorch cannot, or it is not worth it.
    assert engine_of("--image-shape", "3,32,32") == "auto"
    assert engine_of("--num-layers", "56") == "auto"
    assert engine_of("--dtype", "bfloat16") == "auto"
    assert engine_of("--cpus", "2") == "auto"
    assert engine_of("--kv-store", "dist_sync") == "auto"
    assert engine_of("--gpus", "0") == "auto"


def test_a_run_keeps_the_engine_with_which_it_began(packed, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = words_of_fit(packed)
    whole, resumed = (tmp_path / name / "net" for name in ("whole", "resumed"))
    assert fit.main([*words, "--model-prefix", str(whole), "--engine", "torch"]) == 0
    first = ["--num-epochs", "1", "--engine", "torch"]
    assert fit.main([*words, "--model-prefix", str(resumed), *first]) == 0
    assert fit.main([*words, "--model-prefix", str(resumed)]) == 0
    assert "PyTorch (this run began with it)" in capfd.readouterr().err
    assert_same(parameters(resumed, 2), parameters(whole, 2))


@pytest.fixture
def threads_of(engine_of, tmp_path, monkeypatch):
    """The number and the line of a new process on four processors, of which others use some."""

    def threads_of(*words, others=0.0, given=None):
        prefix = ["--model-prefix", str(tmp_path / "run" / "net")]
        monkeypatch.setattr(engine_choice, "sys", SimpleNamespace(modules={}))
        monkeypatch.setattr(engine_choice, "busy_processors", lambda: others)
        monkeypatch.setattr(engine_choice, "compute_threads", lambda: 4)
        monkeypatch.setattr(machine, "_own_threads", set())
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if given:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
        else:
            machine.set_threads(4)
        settings = flags.parse(FitSettings, [*prefix, *words], "fit", "")
        line = engine_choice.choose_threads(settings)
        return int(os.environ["OMP_NUM_THREADS"]), bool(line)

    return threads_of


def test_mxnet_takes_the_processors_that_others_leave(threads_of):
    assert threads_of() == (4, False)
    assert threads_of(others=0.4) == (4, False)
    assert threads_of(others=1.6) == (2, True)
    assert threads_of(others=8.0) == (1, True)
    # It is the user's choice, or threads do not wait like that.
    assert threads_of(others=1.6, given="4") == (4, False)
    assert threads_of("--engine", "torch", others=1.6) == (4, False)
    assert threads_of("--gpus", "0", others=1.6) == (4, False)


def test_a_run_keeps_its_threads(threads_of, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "own_checkpoints", lambda run: [1])
    config = tmp_path / "run" / "config.json"
    config.parent.mkdir()
    for began, wanted in (
        ("2", (2, True)),
        ("4", (4, False)),
        ("16", (4, False)),
        (None, (4, False)),
    ):
        config.write_text(json.dumps({"omp_num_threads": began}))
        assert threads_of(others=3.0) == wanted
    config.write_text(json.dumps({"omp_num_threads": "2"}))
    assert threads_of(given="3") == (3, False)


def test_threads_are_chosen_when_the_inputs_have_been_checked(packed, tmp_path, monkeypatch, capfd):
    chosen = []

    def choose(settings):
        chosen.append(settings.network)
        raise InputError("chosen")

    monkeypatch.setattr(session, "choose_threads", choose)
    monkeypatch.setattr(engine_choice, "choose_threads", choose)
    words = [*words_of_fit(packed), "--model-prefix", str(tmp_path / "run" / "net")]
    absent = ["--data-train", str(tmp_path / "no.rec")]
    for wrong in (absent, ["--batch-size", "1000"], ["--summary"], ["--find-lr", *absent]):
        fit.main([*words, *wrong])
        assert not chosen and capfd.readouterr()
    for right in ([], ["--find-lr"]):
        assert fit.main([*words, *right]) == 2 and chosen.pop()
