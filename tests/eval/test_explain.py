"""evaluate --explain: heat-maps against PyTorch's autograd, neighbours against brute force."""

import csv
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ENGINES, one_line_failure, write_records
from PIL import Image

from imagenet_trainer import evaluate
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.eval import neighbours, outputs
from imagenet_trainer.eval.explain import worst_errors
from imagenet_trainer.eval.grad_cam import class_maps
from imagenet_trainer.graph import sym
from imagenet_trainer.metrics import predictions
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.symbols.feature_maps import split_at_maps
from imagenet_trainer.system.files import write_json
from imagenet_trainer.viz.why import overlay

torch = pytest.importorskip("torch")
F = torch.nn.functional

SHAPE = (3, 16, 16)
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 58.0, 56.0)
# Images are 20 pixels high and wide: the crop is all that happens to them.
HOW = Preprocessing(SHAPE, MEAN, STD, 20)
CLASSES = (("circle", "circle"), ("cross", "cross"), ("square", "square"))


def layers():
    """Two convolutions with a max pooling and a BatchNorm between them; 6 maps of 5 x 5."""
    x = sym.Convolution(sym.Variable("data"), kernel=(3, 3), num_filter=5, name="conv1")
    x = sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool1")
    x = sym.BatchNorm(x, fix_gamma=False, eps=1e-3, name="bn1")
    x = sym.Convolution(sym.relu(x), kernel=(3, 3), num_filter=6, name="conv2")
    return sym.relu(x, name="relu2")


def averaged():
    """Ends in a global average and one dense layer."""
    x = sym.Pooling(layers(), global_pool=True, kernel=(1, 1), pool_type="avg", name="pool2")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=3, name="fc1")
    return sym.SoftmaxOutput(x, sym.Variable("softmax_label"), name="softmax")


def dense():
    """Ends as VGG: a max pooling and dense layers with dropout between them."""
    x = sym.Pooling(layers(), kernel=(2, 2), stride=(2, 2), pool_type="max", name="pool2")
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=8, name="fc1")
    x = sym.Dropout(sym.relu(x), p=0.5)
    x = sym.FullyConnected(x, num_hidden=3, name="fc2")
    return sym.SoftmaxOutput(x, sym.Variable("softmax_label"), name="softmax")


def parameters(symbol):
    rng = np.random.default_rng(4)
    arg, aux = parameter_shapes(symbol, SHAPE)
    return (
        {name: rng.normal(name.endswith("gamma"), 0.3, s).astype(np.float32)
         for name, s in sorted(arg.items())},
        {name: rng.uniform(0.3, 1.5, s).astype(np.float32) for name, s in sorted(aux.items())},
    )  # fmt: skip


def in_torch(parameters, images):
    """The features of the last convolution, and the logits, as tensors with a gradient."""
    arg, aux = parameters
    p = {name: torch.tensor(value) for name, value in {**arg, **aux}.items()}
    x = (torch.tensor(images.astype(np.float32)) - torch.tensor(MEAN)) / torch.tensor(STD)
    x = F.max_pool2d(F.conv2d(x.permute(0, 3, 1, 2), p["conv1_weight"], p["conv1_bias"]), 2)
    x = F.batch_norm(
        x, p["bn1_moving_mean"], p["bn1_moving_var"], p["bn1_gamma"], p["bn1_beta"], eps=1e-3
    )
    maps = torch.relu(F.conv2d(torch.relu(x), p["conv2_weight"], p["conv2_bias"]))
    maps = maps.detach().requires_grad_()
    if "fc2_weight" not in p:
        return maps, F.linear(maps.mean((2, 3)), p["fc1_weight"], p["fc1_bias"])
    x = torch.relu(F.linear(F.max_pool2d(maps, 2).flatten(1), p["fc1_weight"], p["fc1_bias"]))
    return maps, F.linear(x, p["fc2_weight"], p["fc2_bias"])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("network", [averaged, dense])
def test_grad_cam_is_that_of_autograd(network, engine):
    symbol = network()
    values = parameters(symbol)
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)
    labels = np.arange(7) % 3, (np.arange(7) + 1) % 3
    checkpoint = Checkpoint(*values, Progress(1, 1), {}, HOW, CLASSES)
    found = class_maps(
        split_at_maps(symbol, SHAPE), checkpoint, values, Devices(engine=engine), images, labels, 4
    )
    assert found.shape == (2, 7, 5, 5) and (found > 0).any(axis=(2, 3)).mean() > 0.3
    for one, chosen in zip(found, labels):
        maps, logits = in_torch(values, images)
        logits[torch.arange(7), torch.tensor(chosen)].sum().backward()
        wanted = torch.relu((maps.grad.mean((2, 3), keepdim=True) * maps).sum(1))
        np.testing.assert_allclose(one, wanted.detach().numpy(), rtol=1e-3, atol=1e-6)
        if network is averaged:  # the class activation map: a dense layer on each position
            weights = values[0]["fc1_weight"][chosen] / 25
            activation = np.einsum("nc,nchw->nhw", weights, maps.detach().numpy())
            np.testing.assert_allclose(one, activation.clip(0), rtol=1e-3, atol=1e-6)


def test_a_heat_map_is_brightest_where_it_is_greatest():
    heat = np.zeros((4, 4), np.float32)
    heat[1, 3] = 0.01  # each has its own scale
    drawn = overlay(np.full((32, 32, 3), 128, np.uint8), heat).sum(axis=2, dtype=int)
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    assert 8 <= row < 16 and column >= 24
    plain = overlay(np.full((32, 32, 3), 128, np.uint8), np.zeros((4, 4), np.float32))
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _without_the_matrix(monkeypatch):
    """It takes most of the time, and other tests look at it."""
    monkeypatch.setattr(outputs, "draw_epoch", lambda run, *rest: [run.folder / "confusion.png"])


def make_run(folder, packed, symbol, **settings):
    run = Run(str(folder / "model"))
    run.folder.mkdir(parents=True)
    run.write_symbol(symbol.tojson())
    arg, aux = parameters(symbol)
    run.save(Checkpoint(arg, aux, Progress(1, 9), {"updates": np.array(9)}, HOW, CLASSES), 1)
    used = {f"data_{name}": str(packed / f"{name}.rec") for name in ("train", "val")}
    write_json(run.config_path, {"settings": {**used, **settings}})
    validated = run.validation_shard()[0]  # with folds, of the training shard
    prints = {}
    for name, path in (("train", used["data_train"]), ("val", validated)):
        dataset = open_dataset(path)
        dataset.shards.close()
        prints[name] = dataset.fingerprint
    write_json(run.config_path, {"settings": {**used, **settings}, "data": prints})
    return run


@pytest.fixture
def run(packed, tmp_path):
    return make_run(tmp_path / "run", packed, averaged())


def explained(run, *words, engine="torch", name=""):
    """Run the command; the rows of its table."""
    more = ["--engine", engine, "--explain", "4", "--explain-nearest", "3", *map(str, words)]
    assert evaluate.main(["--model-prefix", run.prefix, "--batch-size", "8", *more]) == 0
    with open(run.folder / f"explain-0001{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def crops(path):
    """The images of a shard as the network takes them, and their labels and keys."""
    shards = open_dataset(str(path)).shards
    found = [shards.record(number) for number in range(len(shards))]
    images = [
        cv2.imdecode(np.frombuffer(one.image, np.uint8), 1)[2:18, 2:18, ::-1] for one in found
    ]
    return np.stack(images), np.array([int(one.label) for one in found]), shards.keys


@pytest.mark.parametrize("engine", ENGINES)
def test_the_nearest_training_images(run, packed, engine):
    rows = explained(run, "--report", engine=engine)
    arg, aux = run.load(1).arg, run.load(1).aux
    (images, labels, keys), (others, train_labels, train_keys) = (
        crops(packed / f"{name}.rec") for name in ("val", "train")
    )
    maps, logits = in_torch((arg, aux), np.concatenate([images, others]))
    features = maps.detach().numpy().mean(axis=(2, 3))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    odds = logits.softmax(1).detach().numpy()
    odds, train_odds = odds[:15], odds[15:]
    wrong = np.where(odds.argmax(1) == labels, 0, odds.max(1))
    worst = np.argsort(-wrong)[:4]
    cosines = features[:15][worst] @ features[15:].T
    nearest = np.argsort(-cosines, axis=1)[:, :3]
    assert [int(row["key"]) for row in rows[::3]] == keys[worst].tolist()
    assert [float(row["probability"]) for row in rows[::3]] == pytest.approx(wrong[worst], 1e-3)
    for row, place in zip(rows, nearest.ravel().tolist()):
        assert int(row["train_key"]) == train_keys[place]
        assert row["train_label"] == CLASSES[train_labels[place]][0]
        assert row["train_file"].startswith(f"{row['train_label']}/")
        assert row["train_predicted"] == CLASSES[train_odds[place].argmax()][0]
        assert float(row["train_probability"]) == pytest.approx(train_odds[place].max(), 1e-3)
    similarities = [float(row["similarity"]) for row in rows]
    assert similarities == pytest.approx(np.take_along_axis(cosines, nearest, 1).ravel(), abs=1e-5)
    with Image.open(run.folder / "explain-0001.jpg") as sheet:
        assert sheet.width > 6 * 144 and sheet.height > 4 * 144
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("heat-map of image") == 8 and page.count("<img") > 20


def test_an_interrupted_search_continues(run, packed, monkeypatch, capsys):
    whole = explained(run)
    state = dict(np.load(run.folder / "explain-0001.npz"))
    (run.folder / "explain-0001.npz").unlink()
    seen, real = [], neighbours.NeighbourSearch._features

    def features(search, first):
        for number, one in enumerate(real(search, first)):
            if not seen and number == 3:
                raise KeyboardInterrupt
            if seen:
                seen.append(len(one[0]))
            yield one

    monkeypatch.setattr(neighbours.NeighbourSearch, "_features", features)
    words = ["--model-prefix", run.prefix, "--batch-size", "8", "--engine", "torch"]
    assert evaluate.main([*words, "--explain", "4", "--explain-nearest", "3"]) == 130
    seen.append(0)
    assert explained(run) == whole
    assert sum(seen) == 60 - 3 * 8
    again = dict(np.load(run.folder / "explain-0001.npz"))
    for name, value in state.items():
        np.testing.assert_array_equal(again[name], value, name)
    # What was found is used again, unless it is of other errors.
    assert explained(run) == whole and sum(seen) == 36
    assert "as found before" in capsys.readouterr().err
    explained(run, "--explain", "2")
    assert sum(seen) == 96
    shutil.copy(run.params_path(1), run.folder / "explain-0001.npz")  # damaged
    assert explained(run) == whole and sum(seen) == 156


def test_an_image_of_the_training_set_does_not_find_itself(run, packed):
    rows = explained(run, "--data-val", packed / "train.rec", name="-train")
    assert len(rows) == 12 and all(row["key"] != row["train_key"] for row in rows)


def test_only_images_that_were_trained_on_are_searched(packed, tmp_path):
    """Not those of the fold; --explain-images takes a sample, the same one every time."""
    run = make_run(tmp_path / "run", packed, averaged(), folds=4, fold=2, seed=3)
    held = open_dataset(f"{packed}/train.rec#fold=2of4+seed=3").shards.keys
    rows = explained(run, "--explain-nearest", 20)
    keys = {int(row["train_key"]) for row in rows}
    assert len(keys) > 10 and not keys & set(held.tolist())
    few = explained(run, "--explain-nearest", 20, "--explain-images", 10)
    assert len(few) == 4 * 10
    sample = {int(row["train_key"]) for row in few}
    assert len(sample) == 10 and not sample & set(held.tolist())
    (run.folder / "explain-0001.npz").unlink()
    assert explained(run, "--explain-nearest", 20, "--explain-images", 10) == few


def test_a_copy_with_another_label_is_named(run, packed, tmp_path, capsys):
    """The training set has each error again, three times as large, with another label."""
    rows = explained(run)
    shards = open_dataset(str(packed / "val.rec")).shards
    payloads, labels = [], []
    for row in rows[::3]:
        record = shards.record(shards.keys.tolist().index(int(row["key"])))
        image = cv2.imdecode(np.frombuffer(record.image, np.uint8), 1)
        labels.append(CLASSES[(int(record.label) + 1) % 3][0])
        data = cv2.imencode(".png", image.repeat(3, 0).repeat(3, 1))[1].tobytes()
        payloads.append(pack_header(float((int(record.label) + 1) % 3), len(payloads)) + data)
    copies = write_records(tmp_path / "copies.rec", payloads)
    capsys.readouterr()
    rows = explained(run, "--data-train", copies, "--explain-nearest", 1, "--report")
    assert "for 4, one looks the same" in capsys.readouterr().out
    assert [(row["looks_the_same"], row["train_label"]) for row in rows] == [
        ("1", label) for label in labels
    ]
    assert "looks the same and is labelled" in (run.folder / "report.html").read_text()


def test_what_cannot_be_is_said_and_the_rest_is_done(packed, tmp_path, capsys):
    flat = sym.FullyConnected(sym.Flatten(sym.Variable("data")), num_hidden=3, name="fc1")
    flat = sym.SoftmaxOutput(flat, sym.Variable("softmax_label"), name="softmax")
    run = make_run(tmp_path / "flat", packed, flat)
    assert len(explained(run, "--report")) == 12
    assert "no heat-maps" in capsys.readouterr().err
    maps = sym.Convolution(layers(), kernel=(1, 1), num_filter=3, name="conv3")
    maps = sym.Pooling(maps, global_pool=True, kernel=(1, 1), pool_type="avg")
    shifted = sym.SoftmaxOutput(
        sym.Flatten(maps) + 1, sym.Variable("softmax_label"), name="softmax"
    )
    assert len(explained(make_run(tmp_path / "shifted", packed, shifted))) == 4
    assert "no nearest" in capsys.readouterr().err
    run = make_run(tmp_path / "moved", packed, averaged(), data_train="gone/train.rec")
    rows = explained(run, "--report")
    error = capsys.readouterr().err
    assert "gone/train.rec" in error and "--data-train" in error and len(rows) == 4
    run.config_path.unlink()  # as of a checkpoint of another program
    assert len(explained(run, "--data-val", packed / "val.rec")) == 4  # heat-maps only
    assert "--data-train" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--flip"], "--flip"),
        (["--crops", "10"], "--crops"),
        (["--multi-label"], "--multi-label"),
        (["--corruptions"], "--corruptions"),
        (["--find-preprocessing"], "--find-preprocessing"),
        (["--calibrate"], "--calibrate"),
        (["--audit", "runs/*/model"], "--audit"),
        (["--compare", "1", "1"], "--compare"),
        (["--data-train", "nowhere.rec"], "nowhere.rec"),
    ],
)
def test_what_is_refused_before_anything_is_computed(run, capsys, words, name):
    line = one_line_failure(evaluate.main, "evaluate", capsys)
    text = line("--model-prefix", run.prefix, "--engine", "torch", "--explain", *words)
    assert name in text and not list(run.folder.glob("predictions*"))


def test_a_read_only_run_needs_another_folder(run, capsys, monkeypatch):
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, *rest: Path(path) != run.folder and real(path, *rest)
    )
    line = one_line_failure(evaluate.main, "evaluate", capsys)
    assert "--output" in line("--model-prefix", run.prefix, "--engine", "torch", "--explain")


def test_the_worst_errors_are_the_surest():
    collector = predictions.Collector(np.arange(4), 3)
    odds = np.array([[8, 1, 1], [1, 6, 3], [9, 1, 0], [1, 8, 1]], np.float32) / 10
    collector.add(np.arange(4), odds, np.array([1, 2, 0, 0]))
    assert worst_errors(collector.complete()).tolist() == [0, 3, 1]
