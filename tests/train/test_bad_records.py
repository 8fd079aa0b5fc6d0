"""Training and evaluation on damaged shards: stop, skip, zero."""

import json
import shutil

import cv2
import numpy as np
import pytest
from conftest import words_of_fit
from helpers.fit_runs import assert_same, parameters, train_until

from imagenet_trainer import evaluate, fit
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.matching import present_classes
from imagenet_trainer.data.order import permutation
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.runs.events import read_events

# The training record is in the fourth update.
BAD = {"train": int(permutation(FitSettings().seed, 0, 60)[26]), "val": 4}


@pytest.fixture
def damaged(packed, tmp_path):
    """The packed sets with one changed byte in an image of each."""
    for name, record in BAD.items():
        for kind in ("rec", "idx", "json"):
            shutil.copy(packed / f"{name}.{kind}", tmp_path)
        change(tmp_path / f"{name}.rec", record)
    return tmp_path


def change(path, record):
    with RecordFile(path) as file, open(path, "r+b") as raw:
        raw.seek(int(file.offsets[record]) + 90)
        byte = raw.read(1)[0]
        raw.seek(-1, 1)
        raw.write(bytes([byte ^ 0xFF]))


def words(folder, prefix, *more):
    epochs = ["--num-epochs", "1", "--disp-batches", "1"]
    return [*words_of_fit(folder), *epochs, "--model-prefix", str(folder / prefix / "m"), *more]


def bad_events(folder):
    return [one for one in read_events(folder / "events.jsonl") if one["event"] == "bad_record"]


def test_a_changed_byte_stops_the_training_and_the_validation(damaged, packed, capsys):
    assert fit.main(words(damaged, "a")) == 2
    assert f"train.rec: record {BAD['train']} at byte" in capsys.readouterr().err
    shutil.copy(packed / "train.rec", damaged / "train.rec")
    assert fit.main(words(damaged, "b")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"val.rec: record {BAD['val']} at byte" in error and "--repair" in error


def test_skipping_is_training_on_the_next_image(damaged, packed, capsys):
    assert fit.main(words(damaged, "a", "--on-bad-record", "skip")) == 0
    lines = capsys.readouterr().err
    assert "skipped: " in lines and "2 skipped" in lines
    events = {one["data"]: one for one in bad_events(damaged / "a")}
    assert {name: one["record"] for name, one in events.items()} == BAD
    (validation,) = [
        one for one in read_events(damaged / "a" / "events.jsonl") if one["event"] == "validation"
    ]
    assert validation["images"] == 14
    # The same images written to a shard of their own: the next one in the place of the bad one.
    with RecordFile(packed / "train.rec") as file:
        records = [file.record(n) for n in range(len(file))]
    records[BAD["train"]] = records[BAD["train"] + 1]
    reference = damaged / "reference"
    reference.mkdir()
    with RecordWriter(reference / "train.rec", reference / "train.idx") as writer:
        for number, record in enumerate(records):
            writer.write(number, pack_header(record.label, number) + bytes(record.image))
    shutil.copy(packed / "val.rec", reference)
    shutil.copy(packed / "val.idx", reference)
    assert fit.main(words(reference, "r", "--num-classes", "3")) == 0
    assert_same(parameters(damaged / "a" / "m", 1), parameters(reference / "r" / "m", 1))


@pytest.mark.parametrize("action", ["skip", pytest.param("zero", marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_in_the_same_way(damaged, action):
    flag = ("--on-bad-record", action)
    assert fit.main(words(damaged, "whole", *flag)) == 0
    events = {one["data"]: one["update"] for one in bad_events(damaged / "whole")}
    cut = words(damaged, "cut", *flag, "--checkpoint-minutes", "0.0000001")
    train_until(events["train"] - 1, cut)
    assert fit.main(cut) == 0
    assert_same(parameters(damaged / "whole" / "m", 1), parameters(damaged / "cut" / "m", 1))
    assert [one["record"] for one in bad_events(damaged / "cut")] == list(BAD.values())


def test_evaluation_leaves_bad_records_out(damaged, packed, capsys):
    run = ["--model-prefix", str(damaged / "a" / "m")]
    assert fit.main(words(damaged, "a", "--on-bad-record", "skip")) == 0
    assert evaluate.main(run) == 2
    for action in ("skip", "zero"):
        assert evaluate.main([*run, "--on-bad-record", action]) == 0
        record = json.loads((damaged / "a" / "evaluation.json").read_text())["epochs"]["1"]
        assert record["bad_records"] == {action: 1}
    capsys.readouterr()
    # What was computed without a record is not the result of all.
    assert evaluate.main(run) == 2
    assert f"val.rec: record {BAD['val']} at byte" in capsys.readouterr().err
    assert evaluate.main([*run, "--on-bad-record", "skip", "--save-predictions"]) == 0
    assert "14 images" in capsys.readouterr().out
    with np.load(damaged / "a" / "probabilities-0001.npz") as file:
        missing = file["labels"] < 0
        assert np.flatnonzero(missing).tolist() == [BAD["val"]]
        assert np.isnan(file["probabilities"][missing]).all()
    shutil.copy(packed / "val.rec", damaged / "val.rec")
    assert evaluate.main(run) == 0
    record = json.loads((damaged / "a" / "evaluation.json").read_text())["epochs"]["1"]
    assert "bad_records" not in record


# --- data that changes between two runs -----------------------------------------------------------


@pytest.mark.parametrize("manifest", [True, False])
def test_a_resumed_run_notices_changed_images(packed, tmp_path, capsys, manifest):
    for path in packed.glob("*.*"):
        shutil.copy(path, tmp_path)
    more = []
    if not manifest:
        (tmp_path / "train.json").unlink()
        (tmp_path / "val.json").unlink()
        more = ["--num-classes", "3"]
    assert fit.main(words(tmp_path, "a", *more)) == 0
    change(tmp_path / "train.rec", 20)
    capsys.readouterr()
    assert fit.main([*words(tmp_path, "a", *more), "--num-epochs", "2"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert ("record 20 at byte" if manifest else "--data-train ") in error


def test_a_run_of_an_older_version_continues_without_a_manifest(packed, tmp_path):
    for path in packed.glob("*.*"):
        shutil.copy(path, tmp_path)
    (tmp_path / "train.json").unlink()
    (tmp_path / "val.json").unlink()
    more = ["--num-classes", "3"]
    assert fit.main(words(tmp_path, "a", *more)) == 0
    config = tmp_path / "a" / "config.json"
    content = json.loads(config.read_text())
    content["data"]["train"] = open_dataset(str(tmp_path / "train.rec"), "", 3).old_fingerprint
    config.write_text(json.dumps(content))
    assert fit.main([*words(tmp_path, "a", *more), "--num-epochs", "2"]) == 0


# --- training and validation sets that are not separate -------------------------------------------


def test_a_pattern_that_takes_the_validation_shard(packed, tmp_path, capsys):
    for name in ("train", "val"):
        for kind in ("rec", "idx"):
            shutil.copy(packed / f"{name}.{kind}", tmp_path)
    pattern = ["--data-train", str(tmp_path / "*.rec"), "--num-classes", "3"]
    assert fit.main(words(tmp_path, "a", *pattern)) == 2
    error = capsys.readouterr().err
    assert f"--data-train {tmp_path}/*.rec: also matches {tmp_path}/val.rec" in error


def test_the_same_images_for_both_are_a_warning(packed, tmp_path, capsys):
    same = ["--data-val", str(packed / "train.rec"), "--model-prefix", str(tmp_path / "m")]
    assert fit.main([*words(packed, "x"), *same]) == 0
    assert "have the same images" in capsys.readouterr().err


def test_a_label_beyond_the_classes_is_no_present_class(tmp_path):
    data = cv2.imencode(".png", np.full((20, 20, 3), 90, np.uint8))[1].tobytes()
    with RecordWriter(tmp_path / "foreign.rec", tmp_path / "foreign.idx") as writer:
        for key, label in enumerate((0, 2, 7)):
            writer.write(key, pack_header(label, key) + data)
    dataset = open_dataset(str(tmp_path / "foreign.rec"), "", 3, all_labels=False)
    with dataset.shards:
        assert present_classes(dataset).tolist() == [0, 2]
