import csv

import cv2
import numpy as np
import pytest

from imagenet_trainer import fit
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.train.previews import learning_rate
from imagenet_trainer.train.previews.learning_rate import Point, rates, suggestion


def test_rates_rise_by_the_same_factor():
    found = np.array(rates(1e-4, 10, 6))
    assert found[0] == 1e-4 and found[-1] == pytest.approx(10)
    np.testing.assert_allclose(found[1:] / found[:-1], 10)
    assert rates(0.5, 2, 1) == [0.5]


def points_of(smoothed):
    return [Point(10.0**k, loss, loss) for k, loss in enumerate(smoothed)]


def test_the_suggested_rate_is_a_tenth_of_the_best_rate():
    assert suggestion(points_of([2.3, 2.0, 1.5, 1.9, 8])) == 10
    assert suggestion(points_of([2.3, 2.3, 2.4, 8])) is None


@pytest.fixture
def test_of(packed, tmp_path, capsys):
    def run(*more):
        words = [
            "--network", "resnet", "--num-layers", "8", "--image-shape", "3,16,16",
            "--data-train", str(packed / "train.rec"), "--batch-size", "8",
            "--random-resized-crop", "0", "--random-crop", "1",
            "--model-prefix", str(tmp_path / "model"), "--find-lr",
        ]  # fmt: skip
        return fit.main([*words, *map(str, more)]), capsys.readouterr()

    return run


def table_of(folder):
    with open(folder / "lr-range.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_the_range_test_on_images(test_of, tmp_path):
    code, result = test_of(40, "--find-lr-range", "1e-4,1000", "--mixup", "0.2", "--ema", "0.9")
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr-range.csv", "lr-range.png"]
    rows = table_of(tmp_path)
    assert len(rows) > 20 and rows[0]["learning_rate"] == 1e-4
    # Kingma's corrected average, from the losses in the table.
    weights = 0.9 ** np.arange(len(rows))[::-1]
    last = np.average([row["loss"] for row in rows], weights=weights)
    assert rows[-1]["smoothed_loss"] == pytest.approx(last, rel=1e-6)
    lowest = min(rows, key=lambda row: row["smoothed_loss"])
    assert lowest["smoothed_loss"] < rows[0]["smoothed_loss"]
    assert f"Suggested: --lr {lowest['learning_rate'] / 10:.2g} (a tenth of" in result.out
    assert cv2.imread(str(tmp_path / "lr-range.png")).shape[0] > 300


def test_the_range_test_ends_when_the_loss_explodes_and_is_reproducible(
    test_of, tmp_path, monkeypatch
):
    monkeypatch.setattr(learning_rate, "draw_range", lambda *_: b"")
    code, first = test_of(30, "--find-lr-range", "1,1e9")
    rows = table_of(tmp_path)
    assert code == 0 and len(rows) < 30
    assert test_of(30, "--find-lr-range", "1,1e9")[1].out == first.out


def test_the_range_test_trains_with_the_weights_of_the_classes(
    test_of, tmp_path, packed, monkeypatch
):
    monkeypatch.setattr(learning_rate, "draw_range", lambda *_: b"")
    classes = open_dataset(str(packed / "train.rec")).classes
    weights = tmp_path / "weights.csv"
    weights.write_text("".join(f"{one[0]},{10.0**n}\n" for n, one in enumerate(classes)))
    plain, weighted = (
        test_of(8, "--class-weights", value)[0] or table_of(tmp_path) for value in ("", weights)
    )
    assert plain[0]["learning_rate"] == weighted[0]["learning_rate"]
    assert plain[-1]["loss"] != weighted[-1]["loss"]


def test_refusals(test_of, tmp_path):
    code, result = test_of(10, "--find-lr-range", "1,0.1")
    assert code == 2 and "--find-lr-range 1,0.1: " in result.err
    code, result = test_of(10, "--data-train", "nowhere.rec")
    assert code == 2 and "--data-train nowhere.rec" in result.err
    assert not list(tmp_path.iterdir())
