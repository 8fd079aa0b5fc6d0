"""Temperature scaling: the fit against an independent one, and the commands that use it."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from conftest import one_line_failure
from helpers.networks import first_parameters, smallest, smallest_shape
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from imagenet_trainer import evaluate, export, predict, symbols
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.factory import open_engine
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.temperature import divide_logits
from imagenet_trainer.graph import sym
from imagenet_trainer.metrics.temperature import HIGHEST, LOWEST, fit_temperature, tempered
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.train.initializers import initial_parameters

SHAPE = (3, 16, 16)
HOW = Preprocessing(SHAPE, (120.0, 110.0, 100.0), (60.0, 58.0, 56.0), 0)
CLASSES = (("circle", "circle"), ("cross", "cross"), ("square", "square"))


def drawn(temperature, images=4000, classes=10, seed=0):
    """Probabilities that are right after their logits are divided by a temperature, and labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (images, classes))
    labels = [random.choice(classes, p=row) for row in softmax(logits / temperature, axis=1)]
    return softmax(logits, axis=1).astype(np.float32), np.array(labels)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_fit_is_the_minimum_of_the_cross_entropy(temperature):
    probabilities, labels = drawn(temperature)
    found = fit_temperature(probabilities, labels)
    assert found == pytest.approx(temperature, rel=0.1)

    def cross_entropy(logarithm):
        logits = np.log(probabilities.astype(np.float64)) / np.exp(logarithm)
        return -log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean()

    reference = minimize_scalar(cross_entropy, bounds=(-3, 3), options={"xatol": 1e-10})
    assert np.log(found) == pytest.approx(reference.x, abs=1e-6)


def test_a_fit_without_a_minimum():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert fit_temperature(probabilities, np.array([0, 1])) == LOWEST  # all are right
    assert fit_temperature(probabilities, np.array([1, 0])) == HIGHEST  # none is
    certain = np.array([[1, 0], [0, 1], [1, 0]], np.float32)  # underflowed
    assert 10 < fit_temperature(certain, np.array([0, 1, 1])) <= HIGHEST


@pytest.mark.parametrize("name", ["resnet-20", "squeezenet1.1", "mobilenet0.25"])
def test_parameters_divided_by_a_temperature(name):
    """Their network has the probabilities of divided logits."""
    symbol, (_, side, _) = smallest(name), smallest_shape(name)
    arg, aux = first_parameters(*parameter_shapes(symbol, (3, side, side)))
    images = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    engine = open_engine(symbol, Devices(), images.shape, (120.0,) * 3, (60.0,) * 3)
    engine.set_params(arg, aux)
    before = engine.predict(images).copy()
    engine.set_params(divide_logits(symbol, arg, 1.7, "here"), aux)
    after = engine.predict(images)
    assert abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, tempered(before, 1.7), atol=2e-6)


def test_networks_whose_logits_cannot_be_divided():
    x = sym.FullyConnected(sym.Variable("data"), num_hidden=3, name="fc")
    arg = {"fc_weight": np.ones((3, 4), np.float32), "fc_bias": np.ones(3, np.float32)}
    bent = sym.SoftmaxOutput(sym.Activation(x, act_type="sigmoid", name="act"), name="softmax")
    with pytest.raises(InputError, match="here: act "):
        divide_logits(bent, arg, 2.0, "here")
    with pytest.raises(InputError, match="does not end in a softmax"):
        divide_logits(x, arg, 2.0, "here")


@pytest.fixture(scope="module")
def run(packed, tmp_path_factory):
    """A run with random parameters, whose settings have a minival."""
    run = Run(str(tmp_path_factory.mktemp("run") / "model"))
    symbol = symbols.get_symbol("resnet8", 3, SHAPE)
    arg, aux = initial_parameters(*parameter_shapes(symbol, SHAPE), "xavier", 1)
    arg["fc1_weight"] *= 5
    run.open_for_training()
    run.write_symbol(symbol.tojson())
    run.save(Checkpoint(arg, aux, Progress(1, 9), {"updates": np.array(9)}, HOW, CLASSES), 1)
    settings = {"data_val": str(packed / "val.rec"), "data_train": str(packed / "train.rec"),
                "minival": 0.5, "seed": 3}  # fmt: skip
    write_json(run.config_path, {"settings": settings})
    run.close()
    assert evaluate.main(["--model-prefix", run.prefix, "--calibrate"]) == 0
    return run


def test_evaluate_calibrates_on_the_minival(run, packed):
    """The temperature is that of the saved probabilities, and the evaluation has it."""
    found = json.loads(run.temperature_path(1).read_text())
    assert found["images"] == 30 and "#minival=0.5+seed=3" in found["pictures"]
    words = ["--model-prefix", run.prefix, "--save-predictions"]
    assert evaluate.main([*words, "--data-val", found["pictures"]]) == 0
    (path,) = run.folder.glob("probabilities-*.npz")
    with np.load(path) as file:
        assert found["temperature"] == fit_temperature(file["probabilities"], file["labels"])
    entry = json.loads(run.evaluation_path.read_text())
    before, after = entry["epochs"]["1"], entry["sets"]["calibrated"]["epochs"]["1"]
    assert before["rank1"] == after["rank1"] and before["loss"] != after["loss"]
    plain, calibrated = (
        np.load(run.predictions_path(1, name))["true"] for name in ("", "calibrated")
    )
    assert abs(np.log(plain) - np.log(calibrated)).max() > 0.1
    on_minival = next(value for name, value in entry["sets"].items() if "minival" in name)
    assert on_minival["epochs"]["1"]["loss"] == pytest.approx(found["before"]["loss"], rel=1e-6)
    error = on_minival["epochs"]["1"]["calibration_error"]
    assert error == pytest.approx(found["before"]["calibration_error"], rel=1e-6)


def test_a_read_only_run_is_refused_before_the_fit(run, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, mode: path != run.folder)
    assert evaluate.main(["--model-prefix", run.prefix, "--calibrate"]) == 2
    assert f"--calibrate: {run.folder} is read-only" in capsys.readouterr().err


def test_predict_and_export_carry_it(run, packed, tmp_path):
    image = str(next((packed / "pictures" / "val" / "cross").iterdir()))
    rows = []
    for more in ((), ("--calibrated",)):
        words = [image, "--model-prefix", run.prefix, "--csv", str(tmp_path / "p.csv"), *more]
        assert predict.main(words) == 0
        with open(tmp_path / "p.csv", newline="") as file:
            rows.append(list(csv.reader(file))[1])
    assert rows[0] != rows[1]
    words = ["--model-prefix", run.prefix, "--to", "mxnet", "--output", str(tmp_path / "net")]
    assert export.main([*words, "--calibrated", "1"]) == 0
    card = json.loads((tmp_path / "net-0001.json").read_text())
    temperature = json.loads(run.temperature_path(1).read_text())["temperature"]
    assert card["temperature"] == temperature
    from imagenet_trainer.runs import params

    exported = params.read(str(tmp_path / "net-deploy-0001.params"))
    plain = params.read(str(run.params_path(1)))
    for name in ("fc1_weight", "fc1_bias", "conv0_weight"):
        factor = temperature if name.startswith("fc1") else 1
        key = f"arg:{name}"
        np.testing.assert_allclose(exported[key] * factor, plain[key], rtol=1e-6)


def test_what_is_refused(run, tmp_path, capsys):
    folder = shutil.copytree(run.folder, tmp_path / "copy")
    words = ["--model-prefix", str(folder / "model")]
    refused = one_line_failure(evaluate.main, "evaluate", capsys)
    assert "--flip: " in refused(*words, "--calibrate", "--flip")
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["minival"] = 0
    (folder / "config.json").write_text(json.dumps(config))
    assert "--calibrate REC" in refused(*words, "--calibrate")
    assert "none.rec" in refused(*words, "--calibrate", "none.rec")
    path = folder / "model-0001.temperature.json"
    path.write_text(path.read_text().replace('"params_sha256": "', '"params_sha256": "0'))
    assert "is of other parameters" in refused(*words, "--calibrated")
    path.unlink()
    assert "--calibrate" in refused(*words, "--calibrated")
