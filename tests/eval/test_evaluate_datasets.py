"""Other images than the run's own, other labels, and other classes."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import CLASSES, write_images
from helpers.evaluated import metrics_of, refusal
from sklearn import metrics as sk

from imagenet_trainer import evaluate
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.packing import im2rec
from imagenet_trainer.runs.checkpoint import read_arrays
from imagenet_trainer.runs.predictions import load_predictions
from imagenet_trainer.runs.run import Run


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


def test_a_changed_validation_shard_is_another_dataset(prefix, packed, tmp_path, capsys):
    """Its metrics would stand beside those of other epochs on the images before."""
    for path in packed.glob("train.*"):
        shutil.copy(path, tmp_path / path.name.replace("train", "val"))
    config = Run(prefix).config_path
    config.write_text(config.read_text().replace(str(packed / "val"), str(tmp_path / "val")))
    first = metrics_of(prefix)
    assert evaluate.main(["--model-prefix", prefix]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("epoch 2 val: ") and "(60 images)" in output.out
    assert "other images or labels" in output.err and output.err.rstrip().endswith("as val")
    assert metrics_of(prefix) == first


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


def test_labels_beyond_the_classes_of_the_network(prefix, seven, capsys):
    line = refusal(capsys, "--model-prefix", prefix, "--data-val", seven / "val.rec")
    assert "val.rec: record" in line and "label 4" in line
