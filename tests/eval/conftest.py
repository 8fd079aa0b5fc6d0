"""A trained run and an untrained network, evaluated by the command."""

import contextlib
import io
import shutil

import cv2
import numpy as np
import pytest
from conftest import CLASSES, draw_shape
from helpers.evaluated import MEAN, SIDE, STD, metrics_of

from imagenet_trainer import evaluate, fit, symbols
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.eval import figures
from imagenet_trainer.eval.evaluator import Evaluator
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.initializers import initial_parameters

LOOK_AT_FIGURES = ("outputs", "evaluate_outputs", "evaluate_compare", "many_classes")


@pytest.fixture(autouse=True)
def no_figures(request, monkeypatch):
    """Figures with axes, which take as long as an evaluation, are drawn where one is looked at."""
    if request.path.stem[len("test_") :] not in LOOK_AT_FIGURES:
        png = cv2.imencode(".png", np.zeros((2, 2, 3)))[1].tobytes()
        monkeypatch.setattr(figures, "draw_figure", lambda *_, **more: png)


@pytest.fixture(scope="session")
def trained(packed, tmp_path_factory):
    """Folder of a run of two epochs; nothing may be written into it."""
    folder = tmp_path_factory.mktemp("trained")
    words = [
        "--network", "resnet", "--num-layers", "8", "--image-shape", f"3,{SIDE},{SIDE}",
        "--data-train", str(packed / "train.rec"), "--data-val", str(packed / "val.rec"),
        "--batch-size", "10", "--num-epochs", "2", "--lr", "0.05", "--random-resized-crop", "0",
        "--rgb-mean", ",".join(map(str, MEAN)), "--rgb-std", ",".join(map(str, STD)),
        # Images are 20 pixels high and wide: the crop is all that happens to them.
        "--val-resize", "20", "--model-prefix", str(folder / "model"),
    ]  # fmt: skip
    assert fit.main(words) == 0
    return folder


@pytest.fixture(scope="session")
def evaluated(trained, tmp_path_factory):
    """A copy of that run whose two epochs are evaluated, and the printed lines."""
    folder = tmp_path_factory.mktemp("evaluated") / "run"
    shutil.copytree(trained, folder)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        assert evaluate.main(["--model-prefix", str(folder / "model"), "--epochs", "all"]) == 0
    return folder, output.getvalue().splitlines()


@pytest.fixture
def fresh(trained, tmp_path):
    """Prefix of a copy of the run, not evaluated."""
    shutil.copytree(trained, tmp_path / "run")
    return str(tmp_path / "run" / "model")


@pytest.fixture
def prefix(evaluated, tmp_path):
    """Prefix of a copy of the evaluated run."""
    shutil.copytree(evaluated[0], tmp_path / "run")
    return str(tmp_path / "run" / "model")


@pytest.fixture
def scored(capsys):
    """Run the command; return its lines and the metrics in evaluation.json."""

    def score(prefix, *more):
        capsys.readouterr()
        assert evaluate.main(["--model-prefix", prefix, *map(str, more)]) == 0
        return capsys.readouterr().out.splitlines(), metrics_of(prefix)

    return score


@pytest.fixture
def counted(monkeypatch):
    """The epochs that are really computed."""
    epochs, real = [], Evaluator._predict

    def predict(self, epoch, *words):
        epochs.append(epoch)
        return real(self, epoch, *words)

    monkeypatch.setattr(Evaluator, "_predict", predict)
    return epochs


@pytest.fixture(scope="session")
def seven(tmp_path_factory):
    """Folder of an untrained network of seven classes, and a shard for it without manifest."""
    folder = tmp_path_factory.mktemp("seven")
    with RecordWriter(folder / "val.rec", folder / "val.idx") as writer:
        for number in range(23):
            image = draw_shape(CLASSES[number % 3], number, SIDE)
            data = cv2.imencode(".png", image)[1].tobytes()
            writer.write(number, pack_header(number * number % 7, number) + data)
    symbol = symbols.get_symbol("resnet", 7, (3, SIDE, SIDE), 8)
    arg, aux = initial_parameters(*parameter_shapes(symbol, (3, SIDE, SIDE)), "xavier", 3)
    how = Preprocessing((3, SIDE, SIDE), MEAN, STD, 0)
    names = tuple((f"class_{label}", f"class {label}") for label in range(7))
    model = Run(str(folder / "model"))
    model.write_symbol(symbol.tojson())
    model.save(Checkpoint(arg, aux, Progress(1, 5), {"updates": np.array(5)}, how, names), 1)
    return folder


@pytest.fixture
def seven_prefix(seven, tmp_path):
    shutil.copytree(seven, tmp_path / "seven")
    return str(tmp_path / "seven" / "model")
