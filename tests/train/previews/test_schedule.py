import cv2
import pytest

from imagenet_trainer import fit
from imagenet_trainer.train.previews import schedule
from imagenet_trainer.train.previews.schedule import rows
from imagenet_trainer.train.schedule import Schedule


def test_first_and_last_rates_of_epochs():
    # 60 images in batches of 8: epochs begin with updates 0, 7, 15.
    found = rows(Schedule(base=1.0, factor=0.1, steps=(7, 14), warmup=2), 60, 8, 2)
    assert [(row.epoch, row.first_update) for row in found] == [(0, 0), (1, 7)]
    assert found[0][2:] == pytest.approx((0.5, 1.0))
    assert found[1][2:] == pytest.approx((0.1, 0.01))


def test_shown_without_any_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--show-schedule", "--num-examples", "1281167", "--recipe", "squeezenet"]
    assert fit.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1281167 images in batches of 128: 800729 updates"
    table = [line.split() for line in lines[3:83]]
    assert [int(row[0]) for row in table] == list(range(80))
    assert [row[2] for row in table] == ["0.01"] * 50 + ["0.001"] * 15 + ["0.0001"] * 10 + [
        "1e-05"
    ] * 5
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["schedule.png", "squeezenet1.0"]
    image = cv2.imread(str(tmp_path / "runs" / "squeezenet1.0" / "schedule.png"))
    assert image.shape[1] > 2 * image.shape[0] > 400
    # Two curves in our blue.
    blue = (abs(image.astype(int) - (0x97, 0x6F, 0x2A)).sum(axis=2) < 30).any(axis=0)
    middle = image.shape[1] // 2
    assert blue[:middle].sum() > 200 and blue[middle:].sum() > 200


def test_shown_for_existing_shards(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(schedule, "draw_schedule", lambda *_: b"")
    words = ["--show-schedule", "--data-train", str(packed / "train.rec"), "--batch-size", "8"]
    more = ["--model-prefix", str(tmp_path / "model"), "--num-epochs", "3"]
    assert fit.main([*words, *more, "--lr-step-every", "1", "--lr-factor", "0.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "60 images in batches of 8: 22 updates"
    assert [line.split() for line in lines[3:6]] == [
        ["0", "0", "0.1", "0.1"], ["1", "7", "0.05", "0.05"], ["2", "15", "0.025", "0.025"],
    ]  # fmt: skip
    held_back = ["--minival", "10", "--num-examples", "60"]
    assert fit.main([*words, *more, *held_back]) == 0
    assert capsys.readouterr().out.startswith("50 images in batches of 8: 18 updates\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data-train", "nowhere.rec"], "--num-examples"),
        (["--num-examples", "100"], "--batch-size 128: there are only 100 images"),
        (["--num-examples", "999", "--lr-final", "3"], "--lr-final 3: is above --lr 0.1"),
    ],
)
def test_refusals(words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert fit.main(["--show-schedule", *words]) == 2
    line = capsys.readouterr().err
    assert expected in line and line.count("\n") == 1
    assert not list(tmp_path.iterdir())
