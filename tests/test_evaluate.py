import contextlib
import csv
import io
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CLASSES, draw_shape, needs_mxnet, write_images
from helpers.mutations import mutations
from PIL import Image
from sklearn import metrics as sk

from imagenet_trainer import evaluate, fit, symbols
from imagenet_trainer.config import EvaluateSettings, flags
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import evaluator, inference
from imagenet_trainer.eval.epochs import select_epochs
from imagenet_trainer.eval.evaluator import Evaluator
from imagenet_trainer.metrics.evaluation import table
from imagenet_trainer.metrics.semantic import summary_lines
from imagenet_trainer.packing import im2rec
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress, read_arrays
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.retention import best_epoch
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters
from imagenet_trainer.viz import confusion

SIDE = 16
MEAN, STD = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


def metrics_of(prefix):
    return json.loads(Run(prefix).evaluation_path.read_text())["epochs"]


def evaluator_of(prefix, *epochs, log=print, **settings):
    """An evaluator, for what needs no output files."""
    chosen = EvaluateSettings(model_prefix=prefix, **settings)
    return Evaluator(chosen, Run(prefix), epochs, log)


def matrix_of(prefix, epoch):
    return read_arrays(Run(prefix).confusion_path(epoch, ".npz"))["matrix"]


def refusal(capsys, *words):
    assert evaluate.main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("evaluate: error: ")
    return lines[0]


# --- metrics --------------------------------------------------------------------------------------


def probabilities_by_mxnet_alone(prefix, epoch, rec, top=2, left=2, turn=1):
    """Float32 (n, classes) and labels (n,), without this package."""
    reader = mx.recordio.MXIndexedRecordIO(rec[:-3] + "idx", rec, "r")
    planes, labels = [], []
    for key in reader.keys:
        header, image = mx.recordio.unpack_img(reader.read_idx(key), cv2.IMREAD_COLOR)
        crop = image[top : top + SIDE, left : left + SIDE, ::-1].astype(np.float64)  # RGB
        crop = crop[:, ::turn]  # mirrored for -1
        planes.append(((crop - MEAN) / STD).transpose(2, 0, 1))
        labels.append(int(header.label))
    symbol, arg, aux = mx.model.load_checkpoint(prefix, epoch)
    module = mx.mod.Module(symbol)
    shapes = [("data", (len(planes), 3, SIDE, SIDE))], [("softmax_label", (len(planes),))]
    module.bind(*shapes, for_training=False)
    module.set_params(arg, aux)
    batch = mx.io.DataBatch([mx.nd.array(np.array(planes))], [mx.nd.array(labels)])
    module.forward(batch, is_train=False)
    return module.get_outputs()[0].asnumpy(), np.array(labels)


def test_metrics_agree_with_mxnet_and_numpy(evaluated, packed):
    folder, lines = evaluated
    prefix = str(folder / "model")
    found = metrics_of(prefix)
    for epoch in (1, 2):
        p, labels = probabilities_by_mxnet_alone(prefix, epoch, str(packed / "val.rec"))
        best = np.argsort(-p, axis=1, kind="stable")
        numbers = found[str(epoch)]
        assert numbers["images"] == 15
        assert numbers["rank1_count"] == (best[:, 0] == labels).sum()
        assert numbers["rank1"] == pytest.approx(numbers["rank1_count"] / 15)
        assert numbers["rank5_count"] == 15 and numbers["rank5"] == 1
        loss = -np.log(p[np.arange(15), labels].astype(np.float64)).mean()
        assert numbers["loss"] == pytest.approx(loss, rel=1e-4)
        wanted = np.zeros((3, 3), int)
        for label, row in zip(labels, best):
            wanted[label, row[0]] += 1  # with three classes only the most probable one counts
        np.testing.assert_array_equal(matrix_of(prefix, epoch), wanted)
        rank1 = 100 * numbers["rank1"]
        assert lines[epoch - 1] == (
            f"epoch {epoch}: rank-1 {rank1:.2f} %  loss {numbers['loss']:.4f}  (15 images)"
        )


def test_metrics_agree_with_the_history(prefix):
    with open(Run(prefix).history_path, newline="") as file:
        history = {row["epoch"]: row for row in csv.DictReader(file)}
    found = metrics_of(prefix)
    assert found.keys() == history.keys()
    for epoch, numbers in found.items():
        assert numbers["rank1"] == float(history[epoch]["val_rank1"])
        assert numbers["loss"] == pytest.approx(float(history[epoch]["val_loss"]), rel=1e-5)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def seven_evaluated(seven, tmp_path_factory):
    """Prefix of a copy of that network, evaluated in one batch."""
    folder = tmp_path_factory.mktemp("seven-evaluated") / "run"
    shutil.copytree(seven, folder)
    # The folder has no config.json, so the shard must be given.
    words = ["--data-val", str(seven / "val.rec"), "--batch-size", "23"]
    assert evaluate.main(["--model-prefix", str(folder / "model"), *words]) == 0
    return str(folder / "model")


def test_an_image_adds_its_five_most_probable_classes(seven_evaluated):
    matrix, metrics = matrix_of(seven_evaluated, 1), metrics_of(seven_evaluated)["1"]
    assert metrics["images"] == 23 and matrix.shape == (7, 7) and matrix.sum() == 5 * 23
    labels = np.arange(23) ** 2 % 7
    np.testing.assert_array_equal(matrix.sum(axis=1), 5 * np.bincount(labels, minlength=7))
    # The diagonal has the images whose class is among the five.
    assert matrix.trace() == metrics["rank5_count"] >= metrics["rank1_count"]


@pytest.mark.parametrize("words", [["--batch-size", 9], ["--cpus", 2]])
def test_batches_and_devices_change_nothing(seven_prefix, seven, seven_evaluated, scored, words):
    data = ["--data-val", seven / "val.rec"]
    wanted = metrics_of(seven_evaluated)
    _, found = scored(seven_prefix, *data, "--data-nthreads", 2, *words)
    np.testing.assert_array_equal(matrix_of(seven_prefix, 1), matrix_of(seven_evaluated, 1))
    # The last digits of the probabilities depend on the batch; the counts do not.
    for name in ("loss", "calibration_error"):
        assert found["1"].pop(name) == pytest.approx(wanted["1"].pop(name), rel=1e-5)
        for metrics in (found, wanted):
            metrics["1"]["intervals"].pop(name)
    assert found == wanted


# --- selected epochs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "epochs"),
    [([], (2,)), (["--epochs", "all"], (1, 2)), (["--epochs", "1"], (1,)),
     (["--epochs", "1-2"], (1, 2)), (["--epochs", "2,1"], (1, 2))],
)  # fmt: skip
def test_selected_epochs(trained, words, epochs):
    settings = flags.parse(EvaluateSettings, words, "evaluate", "")
    assert select_epochs(Run(str(trained / "model")), settings.epochs) == epochs


def test_only_the_selected_epochs_are_evaluated(fresh, scored):
    lines, found = scored(fresh, "--epochs", "1")
    assert lines[0].startswith("epoch 1: ") and list(found) == ["1"]
    assert not any(line.startswith("epoch ") for line in lines[1:])
    for epoch in (1, 2):
        for suffix in (".png", ".npz"):
            assert Run(fresh).confusion_path(epoch, suffix).exists() == (epoch == 1)


def test_missing_epochs(fresh, capsys):
    line = refusal(capsys, "--model-prefix", fresh, "--epochs", "1-30")
    assert "model-0003.params: " in line and "epochs 1 to 2" in line
    assert not Run(fresh).evaluation_path.exists()


def test_drawn_matrices_and_gif(prefix, scored):
    lines, _ = scored(prefix, "--epochs", "all", "--gif")
    assert lines[-1] == f"drawn: {Run(prefix).gif_path()}"
    with Image.open(Run(prefix).gif_path()) as gif:
        assert gif.n_frames == 2 and gif.size == (1000, 1042)
    for epoch in (1, 2):
        with Image.open(Run(prefix).confusion_path(epoch, ".png")) as image:
            assert image.size == (1000, 1000)
            # Only green, brightest for the highest count.
            red, green, blue = np.moveaxis(np.asarray(image), 2, 0)
        assert not red.any() and not blue.any()
        matrix = matrix_of(prefix, epoch)
        centres = np.array([166, 500, 833])
        cells = green[centres[:, None], centres]
        np.testing.assert_array_equal(cells == 0, matrix == 0)
        assert cells[matrix == matrix.max()].min() == 255


# --- earlier evaluations --------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """The epochs that are really computed."""
    epochs, real = [], Evaluator._predict

    def predict(self, epoch, *words):
        epochs.append(epoch)
        return real(self, epoch, *words)

    monkeypatch.setattr(Evaluator, "_predict", predict)
    return epochs


def test_nothing_is_computed_twice(prefix, evaluated, scored, counted):
    before = metrics_of(prefix)
    lines, metrics = scored(prefix, "--epochs", "all", "--batch-size", 5)
    assert lines[:2] == evaluated[1][:2] and metrics == before and counted == []
    Run(prefix).predictions_path(1).unlink()
    lines, metrics = scored(prefix, "--epochs", "all")
    assert lines[:2] == evaluated[1][:2] and metrics == before and counted == [1]


def test_other_parameters_are_computed_again(prefix, scored, counted):
    before = metrics_of(prefix)
    model = Run(prefix)
    model.save(model.load(1), 2)
    _, after = scored(prefix)
    assert counted == [2] and before["2"]["key"] != after["2"]["key"]
    assert before["1"]["loss"] == after["2"]["loss"]


def test_an_earlier_result_says_where_it_comes_from(prefix, capsys, counted):
    assert evaluate.main(["--model-prefix", prefix]) == 0
    computed = metrics_of(prefix)["2"]["computed"]
    assert computed.keys() == {"date", "engine", "version"}
    assert " ".join((f"from {computed['date']},", computed["engine"])) in capsys.readouterr().err
    assert counted == []
    assert evaluate.main(["--model-prefix", prefix, "--again"]) == 0
    assert "--again" not in capsys.readouterr().err and counted == [2]


def test_another_engine_or_version_computes_again(prefix, scored, counted):
    path = Run(prefix).evaluation_path
    record = json.loads(path.read_text())
    record["epochs"]["2"].update(loss=9.9, computed={"engine": "mxnet", "version": "1.0"})
    # Of a version that did not write it, nor checksums.
    del record["epochs"]["1"]["computed"], record["checksums"]
    path.write_text(json.dumps(record))
    lines, metrics = scored(prefix, "--epochs", "all")
    assert counted == [2] and metrics["2"]["loss"] != 9.9 and "9.9" not in lines[1]


def test_two_networks_in_one_folder_keep_their_results_apart(fresh, capsys, tmp_path):
    for path in list((tmp_path / "run").glob("model-*")):
        shutil.copy(path, path.with_name(path.name.replace("model-", "other-")))
    other = fresh.replace("model", "other")
    for prefix in (fresh, other, fresh):
        assert evaluate.main(["--model-prefix", prefix]) == 0
        assert "several networks" in capsys.readouterr().err
    for name in ("model", "other"):
        assert (tmp_path / "run" / f"{name}-results" / "evaluation.json").exists()
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_another_dataset_has_a_separate_entry(prefix, packed, scored, counted):
    first = metrics_of(prefix)
    lines, found = scored(prefix, "--data-val", packed / "train.rec")
    assert lines[0].startswith("epoch 2 train: ") and "(60 images)" in lines[0]
    assert found == first and counted == [2]
    model = Run(prefix)
    entry = json.loads(model.evaluation_path.read_text())["sets"]["train"]
    assert list(entry["epochs"]) == ["2"] and entry["epochs"]["2"]["images"] == 60
    assert entry["about"]["pictures"] == str(packed / "train.rec")
    for path in (model.predictions_path(2, "train"), model.confusion_path(2, ".png", "train")):
        assert path.exists()
    again, _ = scored(prefix, "--data-val", packed / "train.rec")
    assert again == lines and counted == [2]
    # The run's own images, given by their path, are still its own.
    scored(prefix, "--data-val", packed / "val.rec")
    assert counted == [2]


def test_files_of_version_0_1_are_used(prefix, scored, counted):
    """It had predictions in answers-0002.npz, and probabilities in predictions-0002.npz."""
    wanted = scored(prefix, "--save-predictions")
    assert counted == [2]
    model = Run(prefix)
    probabilities = model.probabilities_path(2).read_bytes()
    model.predictions_path(2).rename(model.folder / "answers-0002.npz")
    model.probabilities_path(2).rename(model.folder / "predictions-0002.npz")
    assert scored(prefix, "--save-predictions") == wanted and counted == [2]
    assert model.probabilities_path(2).read_bytes() == probabilities
    model.save(model.load(1), 2)  # other parameters: now they are computed again
    scored(prefix)
    assert counted == [2, 2] and load_predictions(model, 2).key == metrics_of(prefix)["2"]["key"]
    assert model.probabilities_path(2).read_bytes() == probabilities


@pytest.mark.parametrize("share", [0, 0.5, None])
def test_damaged_counts_are_written_again(prefix, scored, counted, share):
    first = scored(prefix)
    path = Run(prefix).confusion_path(2, ".npz")
    data = path.read_bytes()
    middle = len(data) // 3
    overwritten = data[:middle] + bytes(40) + data[middle + 40 :]
    path.write_bytes(overwritten if share is None else data[: int(share * len(data))])
    assert scored(prefix) == first and counted == []
    assert path.read_bytes() == data


def test_removed_files_are_written_again_without_the_network(prefix, scored, counted):
    model = Run(prefix)
    for path in (model.confusion_path(2, ".png"), model.classes_path(2)):
        data = path.read_bytes()
        path.unlink()
        scored(prefix)
        assert path.read_bytes() == data
    assert counted == []


def test_counts_by_the_rules_of_an_older_version_are_replaced(prefix, scored, counted):
    """With three classes it counted three predictions per image: all cells of a row were equal."""
    first = scored(prefix)
    model = Run(prefix)
    paths = [model.confusion_path(2, suffix) for suffix in (".npz", ".png")]
    wanted = [path.read_bytes() for path in paths]
    predictions = load_predictions(model, 2)
    old = predictions.confusion(3).toarray()
    assert (old == 5).all()
    np.savez_compressed(paths[0], matrix=old, key=np.array(predictions.key))
    confusion.write_png(paths[1], confusion.draw(old))
    numbers = json.loads(model.evaluation_path.read_text())
    numbers["epochs"]["2"]["confused_pairs"] = []
    del numbers["checksums"]  # which it did not write
    model.write_json(model.evaluation_path, numbers)
    assert scored(prefix) == first and counted == []
    assert [path.read_bytes() for path in paths] == wanted


# --- errors ---------------------------------------------------------------------------------------


def test_without_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys)
    assert "runs/" in line and "imagenet_trainer.fit" in line
    line = refusal(capsys, "--model-prefix", "nowhere/model")
    assert "nowhere/model" in line and "imagenet_trainer.fit" in line


def test_the_newest_run_is_found(prefix, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "some")
    monkeypatch.chdir(tmp_path)
    assert evaluate.main([]) == 0
    assert capsys.readouterr().out.startswith("epoch 2: ")
    assert (tmp_path / "runs" / "some" / "confusion-0002.png").exists()


def test_a_dataset_with_other_classes(prefix, tmp_path, capsys):
    images, pack = tmp_path / "pictures", str(tmp_path / "other")
    write_images(images, 2)
    (images / "cross").rename(images / "disc")
    assert im2rec.main(["--list", "--recursive", pack, str(images)]) == 0
    assert im2rec.main([pack, str(images), "--encoding", ".png"]) == 0
    words = ["--model-prefix", prefix, "--data-val", f"{pack}.rec"]
    capsys.readouterr()
    line = refusal(capsys, *words)
    assert "other.rec: 1 of its 3 classes" in line and ": disc;" in line
    assert f"--classes-from {prefix}" in line and "--classes FILE" in line
    (images / "extra").mkdir()
    shutil.copy(images / "disc" / "000.png", images / "extra")
    for path in tmp_path.glob("other.*"):
        path.unlink()
    assert im2rec.main(["--list", "--recursive", pack, str(images)]) == 0
    assert im2rec.main([pack, str(images), "--encoding", ".png"]) == 0
    capsys.readouterr()
    assert "other.rec: 2 of its 4 classes" in refusal(capsys, *words)


def pack_by_hand(pack, images, classes):
    """Pack images with labels in the order of some class folders, by a list."""
    files = [path for name in classes for path in sorted((images / name).glob("*.png"))]
    lines = [
        f"{number}\t{classes.index(path.parent.name)}\t{path.relative_to(images)}\n"
        for number, path in enumerate(files)
    ]
    Path(f"{pack}.lst").write_text("".join(lines))
    words = [str(pack), str(images), "--encoding", ".png", "--classes-from", "none"]
    assert im2rec.main(words) == 0
    return f"{pack}.rec"


@pytest.fixture
def two_classes(packed, tmp_path):
    """The validation images of two of the three classes, in the reverse order."""
    return pack_by_hand(tmp_path / "two", packed / "pictures" / "val", ["square", "circle"])


def test_classes_are_matched_by_identity(prefix, two_classes, scored, capsys):
    wanted = load_predictions(Run(prefix), 2)
    wanted_order = np.r_[np.flatnonzero(wanted.labels == 2), np.flatnonzero(wanted.labels == 0)]
    words = ["--model-prefix", prefix, "--data-val", two_classes]
    assert evaluate.main(words) == 0
    assert "2 of the 3 classes" in capsys.readouterr().err
    found = load_predictions(Run(prefix), 2, "two")
    # All files have the network's classes.
    assert found.labels.tolist() == [2] * 5 + [0] * 5 and found.classes == 3
    assert sorted(found.true.tolist()) == sorted(wanted.true[wanted_order].tolist())
    assert (found.rank < 1).sum() == (wanted.rank[wanted_order] < 1).sum()
    rows = list(csv.DictReader(Run(prefix).classes_path(2, "two").open()))
    assert [(row["id"], row["pictures"]) for row in rows] == [
        ("circle", "5"), ("cross", "0"), ("square", "5")
    ]  # fmt: skip


def test_labels_of_a_table_replace_those_of_the_shard(prefix, packed, tmp_path, capsys):
    before = load_predictions(Run(prefix), 2)
    order = list(Path(packed / "val.lst").read_text().splitlines())
    path = tmp_path / "labels.csv"
    # The first image gets the class that is predicted, the second two, the third none.
    names = [line.split("\t")[2] for line in order[:3]]
    best = [CLASSES[k] for k in before.top[:3, 0]]
    path.write_text(f"image,label\n{names[0]},{best[0]}\n{names[1]},0;1;2\n{names[2]},\n")
    words = ["--model-prefix", prefix, "--labels", str(path)]
    assert evaluate.main(words) == 0
    output = capsys.readouterr()
    assert "3 of 15 images" in output.err and "1 images have no right class" in output.err
    after = load_predictions(Run(prefix), 2, "relabelled")
    assert len(after) == 14 and (after.rank[:2] == 0).all() and after.key != before.key
    np.testing.assert_array_equal(after.labels[2:], before.labels[3:])
    # It is saved, and another table computes it again.
    path.write_text(f"image,label\n{names[0]},{best[0]}\n")
    assert evaluate.main(words) == 0
    names = [one.name for one in Run(prefix).results.glob("predictions-0002-relabelled*")]
    assert len(names) == 2
    assert evaluate.main([*words, "--compare", "1", "2"]) == 0
    capsys.readouterr()
    assert "--real-labels and --labels" in refusal(capsys, *words, "--real-labels", "x.json")


@pytest.mark.parametrize("kind", ["0 and 1", "numbers"])
def test_images_with_several_classes(prefix, packed, tmp_path, capsys, kind):
    """The mean average precision is scikit-learn's, from the saved probabilities."""
    truth = np.random.default_rng(0).random((15, 3)) < 0.5
    truth[0], truth[1] = [True, True, False], kind == "numbers"
    lists = [np.flatnonzero(row).tolist() or [0] for row in truth]
    with RecordWriter(tmp_path / "many.rec", tmp_path / "many.idx") as writer:
        paths = sorted((packed / "pictures" / "val").glob("*/*.png"))
        for number, path in enumerate(paths):
            labels = truth[number].astype(float) if kind == "0 and 1" else lists[number]
            writer.write(number, pack_header(tuple(labels), number) + path.read_bytes())
    if kind == "numbers":
        truth = np.array([[label in one for label in range(3)] for one in lists])
    words = ["--model-prefix", prefix, "--data-val", tmp_path / "many.rec", "--save-predictions"]
    assert "evaluate --multi-label" in refusal(capsys, *words)
    words = [*map(str, words), "--multi-label", "--again"]
    for more in ([], ["--batch-size", "4"]):
        assert evaluate.main([*words, *more]) == 0
        out = capsys.readouterr().out
        probabilities = read_arrays(Run(prefix).probabilities_path(2, "many-multilabel"))
        p = probabilities["probabilities"]
        if kind == "numbers":  # otherwise an image has no class, and its row is empty
            wanted = sk.average_precision_score(truth, p, average="macro")
            assert f"mean average precision {100 * wanted:.2f} %" in out
    # Saved with the other results.
    assert evaluate.main(words[:-1]) == 0
    assert out.split("precision ")[1][:5] in capsys.readouterr().out
    found = load_predictions(Run(prefix), 2, "many-multilabel")
    assert len(found) == truth.any(axis=1).sum()


def test_only_the_present_classes_compete(prefix, two_classes, capsys):
    words = ["--model-prefix", prefix, "--data-val", two_classes, "--save-predictions"]
    assert evaluate.main(words) == 0
    assert evaluate.main([*words, "--restrict-classes"]) == 0
    assert "2 of 3 classes compete" in capsys.readouterr().err
    run = Run(prefix)
    every = read_arrays(run.probabilities_path(2, "two"))["probabilities"]
    restricted = read_arrays(run.probabilities_path(2, "two-restricted"))["probabilities"]
    wanted = every[:, [0, 2]] / every[:, [0, 2]].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(restricted[:, [0, 2]], wanted, rtol=1e-5)
    assert (restricted[:, 1] == 0).all()
    found = load_predictions(run, 2, "two-restricted")
    assert (found.rank < 1).sum() == (wanted.argmax(axis=1) == np.repeat([1, 0], 5)).sum()
    assert load_predictions(run, 2, "two").key != found.key


def test_names_for_the_outputs_of_a_network(prefix, packed, tmp_path, capsys):
    names = tmp_path / "names.json"
    names.write_text(json.dumps({"cross": 0, "square": 1, "circle": 2}))
    words = ["--model-prefix", prefix, "--classes", str(names)]
    before = load_predictions(Run(prefix), 2)
    assert evaluate.main(words) == 0
    after = load_predictions(Run(prefix), 2)
    # The outputs are the same, and the labels follow the names.
    np.testing.assert_array_equal(before.top, after.top)
    assert after.labels.tolist() == [{0: 2, 1: 0, 2: 1}[label] for label in before.labels.tolist()]
    assert before.key != after.key
    names.write_text('["cat", "dog"]')
    capsys.readouterr()
    line = refusal(capsys, *words)
    assert "--classes" in line and "2 classes" in line and "3 outputs" in line


def test_networks_with_other_orders_of_the_classes_are_compared(prefix, tmp_path, capsys):
    """A copy whose classifier and names are in another order predicts the same."""
    shutil.copytree(Path(prefix).parent, tmp_path / "turned")
    turned = Run(str(tmp_path / "turned" / "model"))
    one = turned.load(2)
    order = [2, 0, 1]
    arg = {n: v[order] if n.startswith("fc1") else v for n, v in one.arg.items()}
    turned.save(replace(one, arg=arg, classes=tuple(one.classes[k] for k in order)), 2)
    assert evaluate.main(["--compare", prefix, turned.prefix]) == 0
    assert "only the first is correct: 0, only the second: 0" in capsys.readouterr().out


def test_labels_beyond_the_classes_of_the_network(prefix, seven, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--data-val", seven / "val.rec")
    assert "val.rec: record" in line and "label 4" in line


def test_a_run_without_config_json(prefix, tmp_path, monkeypatch, capsys):
    Run(prefix).config_path.unlink()
    monkeypatch.chdir(tmp_path)
    assert "--data-val data/val.rec: no such shard" in refusal(capsys, "--model-prefix", prefix)


def test_parameters_with_unknown_preprocessing(prefix, capsys):
    Run(prefix).state_path(2).unlink()
    line = refusal(capsys, "--model-prefix", prefix, "--epochs", "2")
    assert "model-0002.params: " in line and "--rgb-mean" in line
    # `all` are the epochs with known preprocessing.
    assert evaluate.main(["--model-prefix", str(prefix), "--epochs", "all"]) == 0
    assert "epoch 2" not in capsys.readouterr().out


def test_parameters_of_another_network(prefix, capsys):
    model = Run(prefix)
    first = model.load(1)
    arg = {**first.arg, "fc1_weight": first.arg["fc1_weight"][:2]}
    model.save(replace(first, arg=arg), 1)
    line = refusal(capsys, "--model-prefix", prefix, "--epochs", "1")
    assert "model-0001.params: fc1_weight is (2, 64)" in line and "(3, 64)" in line


@pytest.mark.parametrize("text", ["", '{"nodes": [', "{}", "3"])
def test_a_damaged_symbol(prefix, capsys, text):
    Run(prefix).symbol_path.write_text(text)
    assert "model-symbol.json: " in refusal(capsys, "--model-prefix", prefix)


@needs_mxnet
def test_a_batch_that_the_devices_cannot_divide(prefix, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--cpus", 3)
    assert "--batch-size 64: cannot be split evenly over 3 devices" in line


@pytest.mark.parametrize(("old", "new"), [('"loss": ', '"loss": 1'), ("calibration_error", "err")])
def test_a_changed_result_is_computed_again(prefix, scored, counted, old, new):
    lines, before = scored(prefix)
    path = Run(prefix).evaluation_path
    head, second, tail = path.read_text().partition('"2": {')
    assert old in tail
    path.write_text(head + second + tail.replace(old, new, 1))
    assert scored(prefix) == (lines, before) and counted == [2]


def test_an_empty_checkpoint_is_passed_over_with_a_note(prefix, capsys):
    Run(prefix).params_path(2).write_bytes(b"")
    assert evaluate.main(["--model-prefix", prefix]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("epoch 1:")
    assert "-0002.params: is empty; it is passed over" in output.err


def test_a_damaged_evaluation_json(prefix, capsys):
    Run(prefix).evaluation_path.write_text('{"epochs"')
    assert "evaluation.json: is damaged" in refusal(capsys, "--model-prefix", prefix)


@pytest.mark.parametrize(
    "text",
    ["[]", '{"epochs": 3}', '{"epochs": {"2": 5}}', '{"epochs": {"two": {}}}', '{"sets": []}',
     '{"sets": {"train": 3}}', '{"about": {}}',
     '{"about": {"fingerprint": "", "views": {"bgr": 0}, "preprocessing": {"side": 3}}}'],
)  # fmt: skip
def test_an_evaluation_json_of_another_program(prefix, capsys, text):
    Run(prefix).evaluation_path.write_text(text)
    line = refusal(capsys, "--model-prefix", prefix)
    assert "evaluation.json: " in line and "remove it" in line


@pytest.mark.parametrize("text", ['{"settings": 3}', '{"settings": {"data_val": 5}}'])
def test_a_config_json_of_another_program(prefix, capsys, text):
    Run(prefix).config_path.write_text(text)
    line = refusal(capsys, "--model-prefix", prefix)
    assert "config.json: " in line and "remove it" in line


def test_features_are_what_the_classifier_takes(prefix, scored):
    """The classifier, computed here from the features, gives the probabilities of the network."""
    scored(prefix, "--epochs", "2", "--features")
    run = Run(prefix)
    found = read_arrays(run.folder / "features-0002.npz")
    arg, predictions = run.load(2).arg, load_predictions(run, 2)
    logits = found["features"] @ arg["fc1_weight"].T + arg["fc1_bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    of_label = (odds / odds.sum(axis=1, keepdims=True))[np.arange(len(odds)), predictions.labels]
    np.testing.assert_allclose(of_label, predictions.true, rtol=1e-4)
    rows = (run.folder / "features-0002-projector" / "metadata.tsv").read_text().splitlines()
    vectors = np.loadtxt(run.folder / "features-0002-projector" / "features.tsv")
    np.testing.assert_allclose(vectors, found["features"], rtol=1e-3, atol=1e-4)
    assert len(rows) == 1 + len(vectors) and rows[0].split("\t")[:2] == ["class", "predicted"]
    hits = sum(row.split("\t")[2] == "True" for row in rows)
    assert hits == (predictions.rank == 0).sum()


def test_features_of_several_views_are_refused(prefix, capsys):
    assert "--features" in refusal(capsys, "--model-prefix", prefix, "--features", "--flip")


def test_reviewed_labels_of_each_epoch(prefix, scored, tmp_path):
    keys = np.load(Run(prefix).predictions_path(2))["keys"]
    path = tmp_path / "review.csv"
    labels = np.load(Run(prefix).predictions_path(2))["labels"]
    path.write_text(f"image,key,label,verdict,class\n0,{keys[0]},{labels[0]},ambiguous,\n")
    lines, _ = scored(prefix, "--epochs", "all", "--review", path)
    wanted = f"{len(keys) - 1} images"
    assert sum(line.startswith("without them") and wanted in line for line in lines) == 2


def test_report_and_another_order(prefix, scored):
    lines, found = scored(prefix, "--epochs", "all", "--gif", "--order", "cluster", "--report")
    folder = Run(prefix).folder
    assert lines[-1] == f"written: {folder / 'report.html'}"
    for name in ("confusion-0001.cluster.figure.png", "confusion-0002.cluster.png",
                 "confusion.cluster.gif", "report.html"):  # fmt: skip
        assert (folder / name).stat().st_size > 100, name
    assert "meaning" not in found["2"] and len(found["2"]["confused_pairs"]) <= 3


def test_an_order_that_the_classes_do_not_allow(prefix, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--order", "wordnet")
    assert "--order wordnet: class circle " in line


# --- probabilities --------------------------------------------------------------------------------


def test_metrics_agree_with_scikit_learn_on_the_saved_probabilities(seven_prefix, seven, scored):
    data = ["--data-val", seven / "val.rec", "--save-predictions", "--top-k", "2,3"]
    _, found = scored(seven_prefix, *data, "--batch-size", 5)
    numbers = found["1"]
    saved = read_arrays(Run(seven_prefix).probabilities_path(1))
    p, labels = saved["probabilities"], saved["labels"]
    assert p.shape == (23, 7) and p.dtype == np.float32
    np.testing.assert_array_equal(saved["indices"], np.arange(23))
    np.testing.assert_array_equal(labels, np.arange(23) ** 2 % 7)
    for k in (1, 2, 3, 5):
        wanted = sk.top_k_accuracy_score(labels, p, k=k, labels=np.arange(7))
        assert numbers[f"rank{k}"] == pytest.approx(wanted)
        assert numbers[f"rank{k}_count"] == round(23 * wanted)
    exact = p.astype(np.float64)
    wanted = sk.log_loss(labels, exact / exact.sum(axis=1, keepdims=True), labels=np.arange(7))
    assert numbers["loss"] == pytest.approx(wanted, rel=1e-5)
    best = p.argmax(axis=1)
    predictions = load_predictions(Run(seven_prefix), 1)
    np.testing.assert_array_equal(
        predictions.confusion(1).toarray(), sk.confusion_matrix(labels, best, labels=np.arange(7))
    )
    assert numbers["macro_recall"] == pytest.approx(sk.balanced_accuracy_score(labels, best))
    with open(Run(seven_prefix).classes_path(1), newline="") as file:
        rows = list(csv.DictReader(file))
    recall = sk.recall_score(labels, best, labels=np.arange(7), average=None, zero_division=np.nan)
    printed = [float(row["recall"]) if row["recall"] else np.nan for row in rows]
    np.testing.assert_allclose(printed, recall, atol=1e-6)
    assert [int(row["pictures"]) for row in rows] == np.bincount(labels, minlength=7).tolist()


def test_probabilities_requested_later_are_computed(prefix, scored, counted):
    first = scored(prefix)
    assert not Run(prefix).probabilities_path(2).exists() and counted == []
    for _ in range(2):
        assert scored(prefix, "--save-predictions") == first and counted == [2]
    assert Run(prefix).probabilities_path(2).exists()


def test_more_ranks_do_not_need_the_network(prefix, scored, counted):
    usual, first = scored(prefix)
    lines, found = scored(prefix, "--top-k", 2)
    assert counted == [] and "rank-2 " in lines[0]
    assert found["2"]["rank2_count"] == (load_predictions(Run(prefix), 2).rank < 2).sum()
    assert found["2"]["rank1"] == first["2"]["rank1"]
    # Ranks that were requested once are kept, and printed on request.
    lines, found = scored(prefix, "--top-k", 3)
    assert "rank-3 " in lines[0] and "rank-2 " not in "".join(lines)
    assert {"rank2", "rank3"} <= found["2"]["intervals"].keys()
    assert scored(prefix)[0] == usual and counted == []


# --- other crops, sizes, preprocessing ------------------------------------------------------------


def test_ten_crops_have_a_separate_entry(prefix, packed, scored, capsys):
    first = metrics_of(prefix)
    lines, found = scored(prefix, "--crops", 10, "--save-predictions")
    assert lines[0].startswith("epoch 2 10crop: ") and found == first
    # The mean of the ten, computed with MXNet alone.
    wanted = []
    for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4)):
        for turn in (1, -1):
            p, _ = probabilities_by_mxnet_alone(prefix, 2, str(packed / "val.rec"), top, left, turn)
            wanted.append(p.astype(np.float64))
    saved = read_arrays(Run(prefix).probabilities_path(2, "10crop"))["probabilities"]
    np.testing.assert_allclose(saved, np.mean(wanted, axis=0), rtol=1e-4, atol=1e-7)
    scored(prefix, "--flip", "--save-predictions")
    saved = read_arrays(Run(prefix).probabilities_path(2, "flip"))["probabilities"]
    np.testing.assert_allclose(saved, np.mean(wanted[:2], axis=0), rtol=1e-4, atol=1e-7)
    sets = json.loads(Run(prefix).evaluation_path.read_text())["sets"]
    assert sorted(sets) == ["10crop", "flip"]


def test_another_interpolation(fresh, packed, capsys):
    words = ["--model-prefix", fresh, "--val-resize", "18"]
    assert evaluate.main([*words, "--val-interp", "pil-bicubic", "--save-predictions"]) == 0
    error = capsys.readouterr().err
    assert "--val-resize 20 --val-interp bilinear; now --val-resize 18 --val-interp pil-b" in error
    name = "resize18-pil-bicubic"
    found = read_arrays(Run(fresh).probabilities_path(2, name))["probabilities"]
    images = []
    for path in packed.joinpath("pictures", "val").glob("*/*.png"):
        with Image.open(path) as image:
            images.append(np.asarray(image.resize((18, 18), Image.Resampling.BICUBIC)))
    crops = np.stack(images)[:, 1:17, 1:17]
    engine = evaluator_of(fresh, 2)._engine
    wanted = np.concatenate([engine.predict(crops[:8]), engine.predict(crops[8:])])
    rows = np.lexsort(found.T), np.lexsort(wanted.T)
    np.testing.assert_allclose(found[rows[0]], wanted[rows[1]], rtol=1e-4)


def test_the_short_side_that_is_used_is_logged(prefix, capsys):
    assert evaluate.main(["--model-prefix", prefix, "--val-resize", "0"]) == 0
    assert "--val-resize 20; now --val-resize 16" in capsys.readouterr().err


def test_another_size_is_logged(prefix, capsys):
    assert evaluate.main(["--model-prefix", prefix, "--image-shape", "3,20,20"]) == 0
    output = capsys.readouterr()
    assert "was trained with --image-shape 3,16,16; now --image-shape 3,20,20\n" in output.err
    assert output.out.startswith("epoch 2 20x20: ")
    # The mean of the checkpoint is no change.
    assert evaluate.main(
        ["--model-prefix", prefix, "--rgb-mean", ",".join(map(str, MEAN))]
    ) == 0  # fmt: skip
    output = capsys.readouterr()
    assert "now --" not in output.err and output.out.startswith("epoch 2: ")


def test_epochs_with_different_preprocessing_are_refused(fresh, capsys):
    model = Run(fresh)
    second = model.load(2)
    how = replace(second.preprocessing, rgb_mean=(0.0, 0.0, 0.0))
    model.save(replace(second, preprocessing=how), 2)
    assert evaluate.main(["--model-prefix", fresh, "--epochs", "all", "--cache-memory", "0"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "model-0002.params: " in line and "epoch 1" in line


def test_ten_crops_already_include_mirror_images(prefix, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--crops", 10, "--flip")
    assert "--flip: --crops 10 " in line


def test_ten_crops_without_room(prefix):
    lines = []
    evaluator_of(prefix, 2, log=lines.append, crops=10, val_resize=16)
    assert "--crops 10: " in lines[-1] and "--val-resize" in lines[-1]


def test_datasets_with_the_same_file_name_are_kept_apart(prefix, packed, tmp_path, scored):
    scored(prefix, "--data-val", packed / "train.rec")
    images, pack = str(tmp_path / "pictures"), str(tmp_path / "train")
    write_images(tmp_path / "pictures", 1)
    assert im2rec.main(["--list", "--recursive", pack, images]) == 0
    assert im2rec.main([pack, images, "--encoding", ".png"]) == 0
    other, _ = scored(prefix, "--data-val", tmp_path / "train.rec")
    name = re.match(r"epoch 2 (train-[0-9a-f]{6}): .*\(3 images\)", other[0])[1]
    sets = json.loads(Run(prefix).evaluation_path.read_text())["sets"]
    assert {key: one["epochs"]["2"]["images"] for key, one in sets.items()} == {
        "train": 60,
        name: 3,
    }
    assert scored(prefix, "--data-val", tmp_path / "train.rec")[0] == other


# --- several epochs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "free", "passes", "message"),
    [(0.5, 10**9, 1, "decoded once for 2 epochs"), (0.5, 10_000, 2, "--cache-memory 0.5 "),
     (0, 10**9, 2, "")],
)  # fmt: skip
def test_images_are_decoded_once_if_they_fit(
    fresh, evaluated, monkeypatch, share, free, passes, message
):
    calls, real, lines = [], inference.evaluation_batches, []

    def counted_batches(*words, **more):
        calls.append(1)
        return real(*words, **more)

    monkeypatch.setattr(inference, "evaluation_batches", counted_batches)
    monkeypatch.setattr(evaluator, "free_memory", lambda: free)
    results = list(
        evaluator_of(fresh, 1, 2, log=lines.append, cache_memory=share).results()
    )  # fmt: skip
    assert len(calls) == passes and message in "".join(lines) and bool(lines) == bool(message)
    wanted = metrics_of(str(evaluated[0] / "model"))
    assert [one.metrics for one in results] == [wanted["1"], wanted["2"]]


# --- checkpoints of other programs ----------------------------------------------------------------


@pytest.fixture
def foreign(prefix, tmp_path):
    """The second epoch as another program saves it: logits, other names, BGR."""
    symbol, arg, aux = mx.model.load_checkpoint(prefix, 2)
    logits = symbol.get_internals()["fc1_output"](data=mx.sym.Variable("photo"))
    # The same network for the other order of channels: up to its first convolution only the
    # parameters depend on it.
    for name in ("bn_data_gamma", "bn_data_beta"):
        arg[name] = arg[name][::-1]
    for name in ("bn_data_moving_mean", "bn_data_moving_var"):
        aux[name] = aux[name][::-1]
    arg["conv0_weight"] = arg["conv0_weight"][:, ::-1]
    arg["stray_weight"] = mx.nd.zeros((3,))
    (tmp_path / "other").mkdir()
    mx.model.save_checkpoint(str(tmp_path / "other" / "net"), 0, logits, arg, aux)
    return str(tmp_path / "other" / "net")


def test_a_network_of_another_program(prefix, foreign, packed, capsys):
    wanted = metrics_of(prefix)
    words = [
        "--model-prefix", foreign, "--data-val", str(packed / "val.rec"), "--val-resize", "20",
        "--rgb-mean", ",".join(map(str, MEAN)), "--rgb-std", ",".join(map(str, STD)), "--bgr",
        "--image-shape", f"3,{SIDE},{SIDE}", "--batch-size", "4",
    ]  # fmt: skip
    assert evaluate.main(words) == 0
    output = capsys.readouterr()
    assert "ends in FullyConnected" in output.err
    assert "'photo'" in output.err
    assert "preprocessing --image-shape 3,16,16 --rgb-mean 120,110,100" in output.err
    found = json.loads(Run(foreign).evaluation_path.read_text())["epochs"]["0"]
    assert found["rank1_count"] == wanted["2"]["rank1_count"]
    assert found["loss"] == pytest.approx(wanted["2"]["loss"], rel=1e-4)
    np.testing.assert_array_equal(
        read_arrays(Run(foreign).confusion_path(0, ".npz"))["matrix"], matrix_of(prefix, 2)
    )
    # The first input is the default; others have names.
    for more, name in ((["--flip"], "flip"), (["--data-val", packed / "train.rec"], "train")):
        assert evaluate.main([*words, *map(str, more)]) == 0
        assert capsys.readouterr().out.startswith(f"epoch 0 {name}: ")


def test_a_network_of_another_program_needs_the_mean(foreign, packed, capsys):
    line = refusal(capsys, "--model-prefix", foreign, "--data-val", packed / "val.rec")
    assert "net-0000.params: " in line and "--rgb-mean" in line


# --- comparison of two networks -------------------------------------------------------------------


def test_two_epochs_compared(prefix, capsys):
    assert evaluate.main(["--model-prefix", prefix, "--compare", "1", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{prefix} epoch 1: ") and "epoch 2: " in lines[1]
    assert lines[2].startswith("rank-1: ") and "95 % interval" in lines[2]
    result = json.loads((Run(prefix).folder / "comparison-0001-0002.json").read_text())
    found = metrics_of(prefix)
    assert result["rank1"] == [found["1"]["rank1"], found["2"]["rank1"]]
    assert result["difference"] == pytest.approx(found["2"]["rank1"] - found["1"]["rank1"])


def test_two_runs_compared(prefix, tmp_path, capsys):
    shutil.copytree(Run(prefix).folder, tmp_path / "again")
    other = str(tmp_path / "again" / "model")
    assert evaluate.main(["--compare", f"{prefix},1", other]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{prefix} epoch 1: ") and lines[1].startswith(f"{other} epoch 2: ")
    (kept,) = Run(prefix).folder.glob("comparison-0001-*again_model-0002.json")
    assert json.loads(kept.read_text())["b"]["prefix"] == other
    # The images are the own ones of both runs.
    assert "sets" not in json.loads(Run(other).evaluation_path.read_text())


def test_a_page_about_two_networks_with_their_own_preprocessing(prefix, capsys):
    sides = [f"{prefix},2", f"{prefix},2 --bgr 1 --rgb-mean 0,0,0"]
    assert evaluate.main(["--compare", *sides, "--report"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (path,) = Run(prefix).folder.glob("comparison-0002-*.html")
    assert f"written: {path}" in lines
    html = path.read_text()
    assert html.count("BGR, mean 0,0,0") == 1 and html.count("RGB, mean") == 1
    lost = json.loads(path.with_suffix(".json").read_text())["only_a_right"]
    assert f"<b>{lost}</b>images lost" in html


@pytest.mark.parametrize(
    ("value", "named"),
    [("1 --bgr maybe", "--bgr"), ("1 --lr 3", "--lr"), ("1 --classes 'x", "quotation")],
)
def test_mistakes_in_the_flags_of_one_side(prefix, capsys, value, named):
    line = refusal(capsys, "--model-prefix", prefix, "--compare", value, "2")
    assert f"--compare {value}" in line and named in line


@pytest.mark.parametrize(
    "words",
    [
        ["--epochs", "1"],
        ["--gif"],
        ["--video", "mp4"],
        ["--order", "cluster"],
        ["--review", "list.csv"],
    ],
)
def test_a_comparison_refuses_flags_without_effect(prefix, capsys, words):
    line = refusal(capsys, "--model-prefix", prefix, "--compare", "1", "2", *words)
    assert f"{words[0]}: --compare " in line and "omit" in line


def test_a_comparison_checks_both_epochs_first(prefix, capsys):
    assert "model-0099.params: no such" in refusal(
        capsys, "--model-prefix", prefix, "--compare", "1", "99"
    )


def test_a_comparison_with_the_best_epoch(prefix, capsys):
    best = best_epoch(Run(prefix))
    assert evaluate.main(["--model-prefix", prefix, "--compare", "1", "best"]) == 0
    assert f"{prefix} epoch {best}: " in capsys.readouterr().out.splitlines()[1]


def test_more_ranks_than_classes(prefix, capsys):
    output = refusal(capsys, "--model-prefix", prefix, "--top-k", 2, "--top-k", "2,99")
    assert "--top-k 99: " in output and "2 or less" in output


def test_a_prefix_that_names_a_folder_or_a_file(prefix, capsys):
    for word in (str(Run(prefix).folder), f"{prefix}-0001.params"):
        line = refusal(capsys, "--model-prefix", word)
        assert f"--model-prefix {word}: " in line and line.endswith(f": {prefix}")


# --- where results are written --------------------------------------------------------------------


def files_of(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_results_in_another_folder(fresh, capsys, tmp_path):
    before = files_of(tmp_path / "run")
    words = ["--model-prefix", fresh, "--output", str(tmp_path / "out")]
    assert evaluate.main([*words, "--report", "--gif"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert files_of(tmp_path / "run") == before
    written = files_of(tmp_path / "out")
    for name in ("evaluation.json", "predictions-0002.npz", "report.html", "confusion.gif"):
        assert name in written
    assert any(str(tmp_path / "out" / "confusion.gif") in line for line in lines)
    assert evaluate.main(words) == 0
    assert capsys.readouterr().out.splitlines()[0] == lines[0]
    words = ["--compare", "1", fresh + ",2", "--output", str(tmp_path / "both")]
    assert evaluate.main(["--model-prefix", fresh, *words]) == 0
    assert files_of(tmp_path / "run") == before
    assert (tmp_path / "both" / "comparison-0001-0002.json").exists()


def test_the_results_of_a_read_only_run_are_printed(fresh, capsys, monkeypatch, tmp_path):
    before = files_of(tmp_path / "run")
    real = os.access
    run = tmp_path / "run"
    monkeypatch.setattr(os, "access", lambda path, *rest: Path(path) != run and real(path, *rest))
    assert evaluate.main(["--model-prefix", fresh]) == 0
    output, error = capsys.readouterr()
    assert output.startswith("epoch 2: rank-1 ") and "--output" in error
    assert "drawn:" not in output and files_of(run) == before
    for flag in ("--report", "--features"):
        text = refusal(capsys, "--model-prefix", fresh, flag)
        assert f"{flag}: " in text and "--output" in text


def test_wrong_values_in_stored_results_are_one_line_or_computed_again(prefix, packed):
    files = evaluator_of(prefix, 2).files
    predictions = load_predictions(Run(prefix), 2)
    path = Run(prefix).evaluation_path
    record = json.loads(path.read_text())
    del record["epochs"]["1"], record["checksums"]
    classes = evaluator_of(prefix, 2).dataset.classes
    refused = 0
    for _, changed in mutations(record):
        path.write_text(json.dumps(changed))
        try:
            metrics = files.record(2, predictions, ())
        except InputError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        table(metrics, 3)
        list(summary_lines(metrics, dict(classes)))
    assert refused > 200
