"""Knowledge distillation: the teacher sees the student's images, and a resumed run is the same."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import one_line_failure
from helpers.fit_runs import assert_resumes_exactly, words_of

from imagenet_trainer import fit, symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.trained import open_run as open_trained
from imagenet_trainer.train import teacher as teacher_module
from imagenet_trainer.train.teacher import open_teacher


@pytest.fixture(scope="module")
def teacher(packed, tmp_path_factory):
    prefix = tmp_path_factory.mktemp("teacher") / "model"
    words = [*words_of(packed), "--model-prefix", str(prefix), "--num-epochs", "1"]
    assert fit.main([*words, "--rgb-std", "58,57,56", "--seed", "5"]) == 0
    return prefix


def test_a_run_with_a_teacher_resumes_exactly(packed, teacher, tmp_path):
    words = [*words_of(packed), "--teacher", f"{teacher},1", "--disp-batches", "50"]
    words += ["--cutmix", "1", "--image-size-schedule", "0:12,1:20"]
    assert_resumes_exactly(words, tmp_path)


def test_the_teacher_predicts_the_images_of_the_student(packed, teacher, tmp_path, monkeypatch):
    from imagenet_trainer.eval.network import open_network
    from imagenet_trainer.train import session
    from imagenet_trainer.train.engine import devices_of

    seen = []

    def opened(*arguments):
        engine = open_teacher(*arguments)
        real = engine.predict

        def predict(images):
            seen.append((images.copy(), real(images)))
            return seen[-1][1]

        engine.predict = predict
        return engine

    monkeypatch.setattr(session, "open_teacher", opened)
    words = [*words_of(packed), "--teacher", f"{teacher},1", "--num-epochs", "1"]
    assert fit.main([*words, "--model-prefix", str(tmp_path / "model")]) == 0
    engine, _, _ = open_network(open_trained(str(teacher)), 1, devices_of(FitSettings()), 8)
    assert len(seen) == 7
    for images, found in seen:
        np.testing.assert_allclose(found, engine.predict(images), atol=1e-6)


def test_another_teacher_under_the_same_name(packed, teacher, tmp_path, capsys):
    copy, words = tmp_path / "t", [*words_of(packed), "--num-epochs", "1"]
    shutil.copytree(teacher.parent, copy)
    words += ["--teacher", f"{copy}/model,best", "--model-prefix", str(tmp_path / "model")]
    assert fit.main(words) == 0
    saved = open_trained(str(copy / "model"))
    better = replace(saved.load(1), validation=Scores(15, 15, 15, 0.1))
    better.arg["fc1_bias"] += 1
    saved.save(better, 2)
    refused = one_line_failure(fit.main, "fit", capsys)(*words, "--num-epochs", "2")
    assert refused.startswith(f"--teacher {copy}/model,best: has other parameters than those")


def test_what_cannot_be_a_teacher(packed, teacher, tmp_path, capsys):
    classes = open_trained(str(teacher)).load(1).classes
    settings = FitSettings(teacher=(str(teacher), 1), image_shape=(3, 16, 16), batch_size=8)
    assert open_teacher(settings, classes, 8).batch_size == 8
    assert open_teacher(replace(settings, teacher=None), classes, 8) is None
    with pytest.raises(InputError, match=r"--teacher .*: has 3 classes, but .* 2"):
        open_teacher(settings, classes[:2], 8)
    with pytest.raises(InputError, match="another order"):
        open_teacher(settings, classes[::-1], 8)
    fails = one_line_failure(fit.main, "fit", capsys)
    words = [*words_of(packed), "--model-prefix", str(tmp_path / "model")]
    missing = fails(*words, "--teacher", f"{tmp_path}/none/model,1")
    assert missing.startswith(f"--teacher {tmp_path}/none/model: has no checkpoints")
    assert fails(*words, "--teacher", f"{teacher},9").startswith(f"--teacher {teacher}-0009.params")
    assert not list(tmp_path.rglob("*.params"))
    (tmp_path / "theirs").mkdir()
    for name in ("model-symbol.json", "model-0001.params"):
        shutil.copy(teacher.parent / name, tmp_path / "theirs")
    theirs = fails(*words, "--teacher", f"{tmp_path}/theirs/model,1")
    assert theirs.startswith(f"--teacher {tmp_path}/theirs/model,1: has no .npz with its prepro")


def test_a_teacher_of_one_size_is_refused(tmp_path, monkeypatch):
    symbol = symbols.get_symbol("alexnet", 2, (3, 224, 224))
    how = Preprocessing((3, 224, 224), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0)
    classes = (("a", "a"), ("b", "b"))
    checkpoint = Checkpoint({}, {}, Progress(), {}, how, classes)
    monkeypatch.setattr(teacher_module, "read_network", lambda *_: (symbol, checkpoint))
    run = SimpleNamespace(epochs=lambda: [1], preprocessing=lambda epoch: how)
    monkeypatch.setattr(teacher_module, "open_run", lambda _: run)
    settings = FitSettings(teacher=("x", 1), image_size_schedule="0:160")
    with pytest.raises(InputError, match="--teacher x: does not take the images of 160 x 160"):
        open_teacher(settings, classes, 8)


def test_a_teacher_is_on_the_gpu_of_its_process(monkeypatch):
    settings = FitSettings(gpus=(3, 5), engine="torch")
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert teacher_module._devices_here(settings).gpus == (3, 5)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert teacher_module._devices_here(settings).gpus == (5,)
