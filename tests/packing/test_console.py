import sys

from imagenet_trainer.packing import console
from imagenet_trainer.packing.console import ProgressDisplay, format_images


def test_counts():
    assert [format_images(n) for n in (0, 1, 1281167)] == [
        "0 images", "1 image", "1,281,167 images",
    ]  # fmt: skip


def test_lines_show_rate_and_time_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with ProgressDisplay("data/x") as progress:
        for done in range(501, 1001):  # 500 were packed before an interruption
            progress(done, 1500, done // 400)
            now[0] += 0.025
    assert capsys.readouterr().out.splitlines() == [
        "data/x: 901 of 1,500, 40 images/s, 00:15 left, 2 rejected"
    ]


def test_a_terminal_shows_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with ProgressDisplay("data/x", "damaged") as progress:
        for done in range(1, 11):
            progress(done, 10, done // 3)
    shown = capsys.readouterr().err
    assert "data/x: 100%" in shown and "10/10" in shown and "3 damaged" in shown
