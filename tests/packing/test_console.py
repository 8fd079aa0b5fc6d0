import sys

import pytest

from imagenet_trainer.packing import console as telling
from imagenet_trainer.packing.console import Progress, images_told, printable, time_told


def test_numbers():
    assert [images_told(n) for n in (0, 1, 1281167)] == [
        "0 images", "1 image", "1,281,167 images",
    ]  # fmt: skip
    assert [time_told(s) for s in (0.4, 59.6, 754, 11100)] == ["0:00", "1:00", "12:34", "3:05:00"]


@pytest.mark.parametrize(
    "name, told",
    [
        ("cat/1 a.jpg", "cat/1 a.jpg"),
        ("café.jpg", "café.jpg"),
        ("caf\udce9.jpg", r"caf\udce9.jpg"),
        ("a\tb\nc\x1b[31m.jpg", r"a\tb\nc\x1b[31m.jpg"),
    ],
)
def test_names_for_any_terminal(name, told):
    assert printable(name) == told
    told.encode("utf-8")


def test_lines_with_rate_and_time_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with Progress("data/x") as progress:
        for done in range(501, 1001):  # 500 were packed before an interruption
            progress(done, 1500, done // 400)
            now[0] += 0.025
    assert capsys.readouterr().out.splitlines() == [
        "data/x: 901 of 1,500, 40 images/s, 0:15 left, 2 rejected"
    ]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("data/x", "damaged") as progress:
        for done in range(1, 11):
            progress(done, 10, done // 3)
    shown = capsys.readouterr().err
    assert "data/x: 100%" in shown and "10/10" in shown and "3 damaged" in shown
