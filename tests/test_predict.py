import re

import cv2
import numpy as np
import pytest
from conftest import CLASSES, draw_shape, one_line_error, run

import symbols
from imagenet_trainer import predict
from imagenet_trainer.config import PredictSettings
from imagenet_trainer.data.manifest import known_synsets
from imagenet_trainer.data.recordio import RecordWriter, pack_header
from imagenet_trainer.data.sets import open_set
from imagenet_trainer.engines import Devices, parameter_shapes
from imagenet_trainer.initializers import initial_parameters
from imagenet_trainer.run import Checkpoint, Preprocessing, Progress, Run
from imagenet_trainer.scoring import answers, open_network

SIDE, PICTURES = 16, 20
NAMES = tuple(known_synsets().items())


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    """A network of ImageNet's classes with its first parameters, in runs/small/."""
    symbol = symbols.get_symbol("resnet", 1000, (3, SIDE, SIDE), 8)
    arg, aux = initial_parameters(*parameter_shapes(symbol, (3, SIDE, SIDE)), "xavier", 0)
    # Wider apart than a fresh network's, which are all near 0.001.
    arg["fc1_weight"] *= 30
    how = Preprocessing((3, SIDE, SIDE), (120.0, 110.0, 100.0), (50.0, 60.0, 70.0), 18)
    saved = Checkpoint(arg, aux, Progress(3, 5), {"updates": np.array(5)}, how, NAMES)
    model = Run(str(tmp_path_factory.mktemp("work") / "runs" / "small" / "model"))
    model.folder.mkdir(parents=True)
    model.write_symbol(symbol.tojson())
    model.save(saved, 3)
    return model.prefix


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files of several sizes, more than a batch of them."""
    folder, paths = tmp_path_factory.mktemp("pictures"), []
    for number in range(PICTURES):
        picture = draw_shape(CLASSES[number % 3], number, 20 + number)[: 30 - number // 2]
        paths.append(str(folder / f"{number:02d}.png"))
        cv2.imwrite(paths[-1], picture)
    return paths


def predicted(prefix, pictures, **more):
    return predict.predict(PredictSettings(pictures=tuple(pictures), model_prefix=prefix, **more))


def refusal(capsys, *words):
    assert predict.main([str(word) for word in words]) == 2
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("predict: error: ")
    return lines[0]


def test_lines_of_the_command(prefix, pictures, capsys):
    assert predict.main([*pictures[:2], "--model-prefix", prefix]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [lines[0], lines[6]] == pictures[:2] and len(lines) == 12
    for line in lines[1:6] + lines[7:]:
        # Like `  n02123045 tabby, tabby cat  0.41`.
        found = re.fullmatch(r"  (n\d{8}) (\S.*\S)  ([01]\.\d\d)", line)
        assert found and (found[1], found[2]) in NAMES
    wanted = [
        f"  {name} {words}  {probability:.2f}"
        for name, words, probability in predicted(prefix, pictures[:1])[0]
    ]
    assert lines[1:6] == wanted


def test_a_folder_name_of_no_known_meaning_stands_once(monkeypatch, capsys):
    found = [[("ankle-boot", "ankle-boot", 0.954), ("n02123045", "tabby, tabby cat", 0.406)]]
    monkeypatch.setattr(predict, "predict", lambda settings: found)
    predict.show(PredictSettings(pictures=("boot.png",)))
    assert capsys.readouterr().out == (
        "boot.png\n  ankle-boot  0.95\n  n02123045 tabby, tabby cat  0.41\n"
    )


def test_the_best_come_first(prefix, pictures):
    whole = predicted(prefix, pictures[:1], top_k=1000)[0]
    probabilities = [probability for _, _, probability in whole]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert {(name, words) for name, words, _ in whole} == set(NAMES)
    assert predicted(prefix, pictures[:1], top_k=3)[0] == whole[:3]
    assert len(predicted(prefix, pictures[:1], top_k=2000)[0]) == 1000


def test_probabilities_are_those_of_evaluation(prefix, pictures, tmp_path):
    # The same files, packed as they are.
    with RecordWriter(tmp_path / "val.rec", tmp_path / "val.idx") as writer:
        for number, path in enumerate(pictures):
            with open(path, "rb") as file:
                writer.write(number, pack_header(number, number) + file.read())
    packed = open_set("--data-val", str(tmp_path / "val.rec"), "", 1000)
    engine, _, checkpoint = open_network(Run(prefix), None, Devices(), 8)
    parts = list(answers(engine, packed, checkpoint.preprocessing, 1, 0))
    wanted = np.concatenate([probabilities for probabilities, _ in parts])
    places = {name: place for place, (name, _) in enumerate(NAMES)}
    found = np.empty_like(wanted)
    for row, classes in zip(found, predicted(prefix, pictures, top_k=1000)):
        for name, _, probability in classes:
            row[places[name]] = probability
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-8)


def test_a_picture_is_the_same_alone_and_among_others(prefix, pictures):
    assert PICTURES > predict.BATCH
    together = predicted(prefix, pictures)
    for place in (0, PICTURES - 1):
        alone = predicted(prefix, [pictures[place]])[0]
        assert [name for name, _, _ in alone] == [name for name, _, _ in together[place]]
        np.testing.assert_allclose(
            [p for _, _, p in alone], [p for _, _, p in together[place]], rtol=1e-4
        )


@pytest.mark.parametrize("count", [1, 3, PICTURES])
def test_devices_share_any_number_of_pictures(prefix, pictures, count):
    one, two = (predicted(prefix, pictures[:count], cpus=cpus) for cpus in (1, 3))
    assert [[name for name, _, _ in row] for row in two] == [
        [name for name, _, _ in row] for row in one
    ]


def test_grey_pictures_and_pictures_with_transparency(prefix, tmp_path):
    grey = draw_shape("circle", 0)[:, :, :1]
    files = {
        "grey.png": grey,
        "colour.png": np.repeat(grey, 3, axis=2),
        "clear.png": np.concatenate([np.repeat(grey, 3, axis=2), grey], axis=2),
    }
    for name, picture in files.items():
        cv2.imwrite(str(tmp_path / name), picture)
    found = predicted(prefix, [str(tmp_path / name) for name in files])
    assert found[0] == found[1] == found[2]


def test_the_newest_run_is_found(prefix, pictures, monkeypatch, capsys):
    monkeypatch.chdir(Run(prefix).folder.parents[1])
    assert predict.main([pictures[0]]) == 0
    assert capsys.readouterr().out.startswith(pictures[0])


# --- what it refuses ------------------------------------------------------------------------------


def test_files_that_are_no_pictures(prefix, pictures, tmp_path, capsys):
    words = ["--model-prefix", prefix, pictures[0]]
    line = refusal(capsys, *words, tmp_path / "nowhere.jpg")
    assert "nowhere.jpg: No such file" in line
    assert str(tmp_path) in refusal(capsys, *words, tmp_path)
    for data in (b"", b"these are words", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(50)):
        (tmp_path / "notes.jpg").write_bytes(data)
        line = refusal(capsys, *words, tmp_path / "notes.jpg")
        assert "notes.jpg: not a picture" in line and "JPEG, PNG" in line


def test_runs_and_epochs_that_are_not_there(prefix, pictures, tmp_path, monkeypatch, capsys):
    line = refusal(capsys, pictures[0], "--model-prefix", prefix, "--epoch", 7)
    assert "model-0007.params: no such checkpoint; there are epoch 3 in" in line
    line = refusal(capsys, pictures[0], "--model-prefix", tmp_path / "model")
    assert "imagenet_trainer.fit" in line
    monkeypatch.chdir(tmp_path)
    assert "runs/: no trained network" in refusal(capsys, pictures[0])


def test_the_command_says_it_in_one_line(tmp_path):
    result = run("-m", "imagenet_trainer.predict", "cat.jpg", cwd=tmp_path, check=None)
    one_line_error(result, "predict: error: cat.jpg: No such file")
