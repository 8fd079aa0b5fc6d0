import pytest
from conftest import HAS_MXNET, words_of_fit
from helpers.fit_runs import assert_same, parameters

from imagenet_trainer import fit
from imagenet_trainer.config import FitSettings, flags
from imagenet_trainer.engines import speeds
from imagenet_trainer.engines.choice import has_torch
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
