import csv
import os
import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import CLASSES, draw_shape

from imagenet_trainer import predict, symbols
from imagenet_trainer.config import PredictSettings, flags
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.loader import Threads
from imagenet_trainer.data.records.manifest import known_synsets
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines import Devices
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import files
from imagenet_trainer.eval.network import open_network
from imagenet_trainer.eval.validation import predict_batches
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.initializers import initial_parameters

SIDE, IMAGES = 16, 20
NAMES = tuple(known_synsets().items())


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """An untrained network with ImageNet's classes, in runs/small/."""
    symbol = symbols.get_symbol("resnet", 1000, (3, SIDE, SIDE), 8)
    arg, aux = initial_parameters(*parameter_shapes(symbol, (3, SIDE, SIDE)), "xavier", 0)
    # Spread the probabilities, which are all near 0.001 at the start.
    arg["fc1_weight"] *= 30
    how = Preprocessing((3, SIDE, SIDE), (120.0, 110.0, 100.0), (50.0, 60.0, 70.0), 18)
    saved = Checkpoint(arg, aux, Progress(3, 5), {"updates": np.array(5)}, how, NAMES)
    model = Run(str(tmp_path_factory.mktemp("work") / "runs" / "small" / "model"))
    model.folder.mkdir(parents=True)
    model.write_symbol(symbol.tojson())
    model.save(saved, 3)
    return model.prefix


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files of several sizes, more than a batch."""
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for number in range(IMAGES):
        image = draw_shape(CLASSES[number % 3], number, 20 + number)[: 30 - number // 2]
        paths.append(str(folder / f"{number:02d}.png"))
        cv2.imwrite(paths[-1], image)
    return paths


def test_a_parquet_file_equals_the_table_beside_it(prefix, images, tmp_path):
    with pytest.raises(InputError, match="--csv FILE"):
        predicted(prefix, images, parquet=True)
    pytest.importorskip("pyarrow")
    table = str(tmp_path / "out.csv")
    more = {"parquet": True, "csv": table, "top_k": 2}
    result = predict(pictures=images[:3], model_prefix=prefix, **more)
    assert (result.prefix, result.epoch, result.submission) == (prefix, 3, None)
    assert {result.csv, result.parquet} == {*tmp_path.iterdir()}
    found = pd.read_parquet(tmp_path / "out.parquet")
    pd.testing.assert_frame_equal(found, pd.read_csv(table))
    assert len(found) == 3 and list(found.columns)[:4] == ["file", "id1", "name1", "probability1"]


def predicted(prefix, images, **more):
    settings = PredictSettings(pictures=tuple(images), model_prefix=prefix, **more)
    return [one.classes for one in files.predict(settings)]


def refusal(capsys, *words):
    assert predict.main([str(word) for word in words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("predict: error: ")
    return lines[0]


def test_a_paragraph_per_image(prefix, images, capsys):
    assert predict.main([*images[:2], "--model-prefix", prefix]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[6]] == images[:2] and len(lines) == 12
    for line in lines[1:6] + lines[7:]:
        # Like `  n02123045 tabby, tabby cat  0.41`.
        found = re.fullmatch(r"  (n\d{8}) (\S.*\S)  ([01]\.\d\d)", line)
        assert found and (found[1], found[2]) in NAMES
    wanted = [
        f"  {name} {words}  {probability:.2f}"
        for name, words, probability in predicted(prefix, images[:1])[0]
    ]
    assert lines[1:6] == wanted


def test_a_class_without_a_name_is_printed_once():
    best = [("ankle-boot", "ankle-boot", 0.954), ("n02123045", "tabby, tabby cat", 0.406)]
    assert list(files.paragraph("boot.png", best)) == [
        "boot.png", "  ankle-boot  0.95", "  n02123045 tabby, tabby cat  0.41",
    ]  # fmt: skip


def test_classes_are_sorted_by_probability(prefix, images):
    whole = predicted(prefix, images[:1], top_k=1000)[0]
    probabilities = [probability for _, _, probability in whole]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert {(name, words) for name, words, _ in whole} == set(NAMES)
    assert predicted(prefix, images[:1], top_k=3)[0] == whole[:3]
    assert len(predicted(prefix, images[:1], top_k=2000)[0]) == 1000


def test_names_for_the_outputs(prefix, images, tmp_path):
    wanted = predicted(prefix, images[:2])
    path = tmp_path / "names.txt"
    path.write_text("".join(f"number {label}\n" for label in range(1000)))
    order = [one for one, _ in NAMES]
    for one, named in zip(wanted, predicted(prefix, images[:2], classes=str(path))):
        assert [name for _, name, _ in named] == [f"number {order.index(id_)}" for id_, _, _ in one]
        assert [p for _, _, p in named] == [p for _, _, p in one]


def test_probabilities_are_those_of_evaluation(prefix, images, tmp_path):
    # The same files, packed as they are.
    with RecordWriter(tmp_path / "val.rec", tmp_path / "val.idx") as writer:
        for number, path in enumerate(images):
            with open(path, "rb") as file:
                writer.write(number, pack_header(number, number) + file.read())
    packed = open_dataset(str(tmp_path / "val.rec"), "", 1000)
    engine, _, checkpoint = open_network(Run(prefix), None, Devices(), 8)
    parts = list(predict_batches(engine, packed, checkpoint.preprocessing, Threads()))
    wanted = np.concatenate([probabilities for probabilities, _ in parts])
    column = {name: index for index, (name, _) in enumerate(NAMES)}
    found = np.empty_like(wanted)
    for row, classes in zip(found, predicted(prefix, images, top_k=1000)):
        for name, _, probability in classes:
            row[column[name]] = probability
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-8)


def test_predictions_do_not_depend_on_the_batch(prefix, images):
    assert PredictSettings().batch_size < IMAGES
    together = predicted(prefix, images)
    for place in (0, IMAGES - 1):
        alone = predicted(prefix, [images[place]])[0]
        assert [name for name, _, _ in alone] == [name for name, _, _ in together[place]]
        np.testing.assert_allclose(
            [p for _, _, p in alone], [p for _, _, p in together[place]], rtol=1e-4
        )


@pytest.mark.parametrize("count", [1, 3, IMAGES])
def test_several_devices_take_any_number_of_images(prefix, images, count):
    one, two = (predicted(prefix, images[:count], cpus=cpus) for cpus in (1, 3))
    assert [[name for name, _, _ in row] for row in two] == [
        [name for name, _, _ in row] for row in one
    ]


def test_grey_images_and_images_with_transparency(prefix, tmp_path):
    grey = draw_shape("circle", 0)[:, :, :1]
    variants = {
        "grey.png": grey,
        "colour.png": np.repeat(grey, 3, axis=2),
        "clear.png": np.concatenate([np.repeat(grey, 3, axis=2), grey], axis=2),
    }
    for name, image in variants.items():
        cv2.imwrite(str(tmp_path / name), image)
    found = predicted(prefix, [str(tmp_path / name) for name in variants])
    assert found[0] == found[1] == found[2]


def test_the_newest_run_is_found(prefix, images, monkeypatch, capsys):
    monkeypatch.chdir(Run(prefix).folder.parents[1])
    assert predict.main([images[0]]) == 0
    assert capsys.readouterr().out.startswith(images[0])


# --- errors ---------------------------------------------------------------------------------------


def test_files_that_are_not_images(prefix, images, tmp_path, capsys):
    words = ["--model-prefix", prefix, images[0]]
    line = refusal(capsys, *words, tmp_path / "nowhere.jpg")
    assert "nowhere.jpg: No such file" in line
    assert str(tmp_path) in refusal(capsys, *words, tmp_path)
    for data in (b"", b"these are words", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50)):
        (tmp_path / "notes.jpg").write_bytes(data)
        line = refusal(capsys, *words, tmp_path / "notes.jpg")
        assert "notes.jpg: " in line and "JPEG, PNG" in line


def test_missing_runs_and_epochs(prefix, images, tmp_path, monkeypatch, capsys):
    line = refusal(capsys, images[0], "--model-prefix", prefix, "--epoch", 7)
    assert "model-0007.params: " in line and "epoch 3" in line
    line = refusal(capsys, images[0], "--model-prefix", tmp_path / "model")
    assert "imagenet_trainer.fit" in line
    monkeypatch.chdir(tmp_path)
    assert "runs/: " in refusal(capsys, images[0])


# --- many files -----------------------------------------------------------------------------------


def test_folders_and_patterns(prefix, images, capsys):
    folder = images[0].rpartition("/")[0]
    wanted = predicted(prefix, images)
    assert predicted(prefix, [folder]) == wanted
    found = predicted(prefix, [f"{folder}/0*.png", f"{folder}/1*.png"], batch_size=7)
    assert [best[0][0] for best in found] == [best[0][0] for best in wanted]


@pytest.fixture
def mixed(images, tmp_path):
    """A folder of three images and two damaged ones."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number in range(3):
        shutil.copy(images[number], folder / f"{number}.png")
    data = (folder / "1.png").read_bytes()
    (folder / "10.png").write_bytes(data[: len(data) // 3])
    (folder / "11.jpg").write_bytes(b"words")
    return folder


def test_damaged_files_in_a_folder_are_skipped(prefix, mixed, tmp_path, capsys):
    table = tmp_path / "predictions.csv"
    words = ["--model-prefix", prefix, "--csv", table, "--top-k", 2, "--data-nthreads", 3]
    assert predict.main([str(word) for word in [mixed, *words]]) == 0
    output = capsys.readouterr()
    assert output.out == f"written: {table} (3 images)\n"
    lines = output.err.splitlines()
    assert "10.png: damaged or cut short" in lines[0] and "11.jpg: not an image" in lines[1]
    assert "2 of 5 files" in lines[2]
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0] == ["file", "id1", "name1", "probability1", "id2", "name2", "probability2"]
    assert [row[0] for row in rows[1:]] == [str(mixed / f"{number}.png") for number in range(3)]
    for row, best in zip(rows[1:], predicted(prefix, [str(mixed / f"{n}.png") for n in range(3)])):
        assert row[1:3] == list(best[0][:2])
        assert float(row[3]) == pytest.approx(best[0][2], abs=1e-6)


def test_a_damaged_file_named_by_the_user_is_an_error(prefix, mixed, tmp_path, capsys):
    table = tmp_path / "predictions.csv"
    line = refusal(capsys, mixed / "0.png", mixed / "11.jpg", "--model-prefix", prefix,
                   "--csv", table)  # fmt: skip
    assert "11.jpg: not an image" in line and not table.exists()


def test_a_folder_with_only_damaged_files(prefix, mixed, tmp_path, capsys):
    for number in range(3):
        (mixed / f"{number}.png").unlink()
    table = tmp_path / "predictions.csv"
    words = [str(mixed), "--model-prefix", prefix, "--csv", str(table)]
    assert predict.main(words) == 2
    assert "2 files" in capsys.readouterr().err
    assert not table.exists()


def test_a_submission_has_every_image(prefix, mixed, tmp_path, capsys):
    out = tmp_path / "submission.csv"
    words = ["--model-prefix", prefix, "--submission", out]
    assert "10.png: damaged or cut short" in refusal(capsys, mixed, *words)
    assert not out.exists()
    for name in ("10.png", "11.jpg"):
        (mixed / name).unlink()
    assert predict.main([str(mixed), *map(str, words)]) == 0
    rows = out.read_text().splitlines()
    assert rows[0] == "id,label" and [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2"]
    best = [row[0][0] for row in predicted(prefix, [str(mixed / f"{n}.png") for n in range(3)])]
    assert [row.split(",")[1] for row in rows[1:]] == best


def test_urls_are_refused(prefix, capsys):
    line = refusal(capsys, "https://example.org/cat.jpg", "--model-prefix", prefix)
    assert "https://example.org/cat.jpg: is a URL; download" in line


def test_flip_averages_over_the_mirror_image(prefix, tmp_path, capsys):
    image = draw_shape("cross", 3, 18)  # the size at which nothing is resized
    for name, turn in (("a", 1), ("b", -1)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image[:, ::turn])
    both = predicted(prefix, [str(tmp_path / "a.png"), str(tmp_path / "b.png")], top_k=1000)
    first, second = ({name: p for name, _, p in best} for best in both)
    words = [str(tmp_path / "a.png"), "--model-prefix", prefix, "--flip", "--crops", "10"]
    assert "--flip: --crops 10 " in refusal(capsys, *words)
    (best,) = predicted(prefix, [str(tmp_path / "a.png")], top_k=1000, flip=True)
    for name, _, p in best:
        assert p == pytest.approx((first[name] + second[name]) / 2, rel=1e-3, abs=1e-7)


def test_latency(prefix, images, capsys):
    words = ["--model-prefix", prefix, "--latency", "--latency-rounds", "3", "--batch-size", "4"]
    assert predict.main([*images[:2], *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "CPU, 16 x 16 pixels; 3 calls each, milliseconds"
    names = [
        re.match(r"(\D+?) +(\d+) +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$", line) for line in lines[2:]
    ]
    assert [found.groups() for found in names] == [
        ("reading and decoding", "1"), ("network", "1"), ("file to classes", "1"), ("network", "4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--clip", "0.1"], "--clip: needs --submission"),
        (["--submission-kind", "probability"], "--submission-kind: needs --submission"),
        (
            ["--submission", "x.csv", "--submission-class", "dog"],
            "--submission-class: needs --submission-kind",
        ),
        (["--latency", "--csv", "x.csv"], "--csv: --latency "),
        (
            ["--csv", "x.csv", "--submission", "./x.csv"],
            "--submission x.csv: is also the file of --csv",
        ),
        (
            ["--csv", "x.csv", "--parquet", "--submission", "./x.parquet"],
            "--submission x.parquet: is also the file of --parquet",
        ),
    ],
)
def test_flags_without_effect(capsys, words, reason):
    assert reason in refusal(capsys, "cat.jpg", *words)


def test_file_names_that_are_not_utf_8_and_hidden_files(prefix, images, tmp_path):
    folder = tmp_path / "odd"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    for name in (b"l\xe4tin.png", b"._latin.png", b".ipynb_checkpoints/1.png"):
        shutil.copy(images[0], os.path.join(os.fsencode(folder), name))
    table = tmp_path / "predictions.csv"
    assert predict.main(["--model-prefix", prefix, "--csv", str(table), str(folder)]) == 0
    rows = table.read_bytes().splitlines()
    assert len(rows) == 2 and rows[1].startswith(os.fsencode(folder) + b"/l\xe4tin.png,")
    file = tmp_path / "submission.csv"
    assert predict.main(["--model-prefix", prefix, "--submission", str(file), str(folder)]) == 0
    assert file.read_bytes().splitlines()[1].startswith(b"l\xe4tin,")


def test_a_switch_before_the_name_of_an_image():
    def parsed(*words):
        settings = flags.parse(PredictSettings, [*words, "cat.jpg"], "predict", "")
        assert settings.pictures == ("cat.jpg",)
        return settings.bgr

    assert parsed() is None and parsed("--bgr") is True
    assert (parsed("--bgr", "0"), parsed("--bgr=1")) == (False, True)
