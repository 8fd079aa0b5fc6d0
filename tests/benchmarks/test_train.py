import json
from pathlib import Path

import pytest

from imagenet_trainer.benchmarks import train


@pytest.fixture
def rows(monkeypatch, capsys):
    """The rows of a run whose rounds differ by the load of other programs."""
    turns = []

    def load():
        return 1 + len(turns)

    speeds = {"float32": {"mxnet": 30.0, "torch": 27.0}, "bfloat16": {"mxnet": 48.0, "torch": 48.0}}

    def plain(folder, rec):
        speed = 15.0 / load()
        turns.append(0)
        return speed

    def without(command, environment):
        if environment.get("OMP_NUM_THREADS") == "1":
            at_once.append(0)
            return 10.0 if len(at_once) % 3 == 1 else 9.0
        dtype = command[command.index("--dtype") + 1]
        speed = speeds[dtype][command[command.index("--engine") + 1]] / load()
        return speed / 2 if "--deterministic" in command else speed

    at_once = []
    monkeypatch.setattr(train, "pack_photographs", lambda folder, images: "")
    monkeypatch.setattr(train, "_plain", plain)
    monkeypatch.setattr(
        train, "_fit",
        lambda folder, rec, kind, turn: (0.98 * speeds[kind[1]][kind[2]] / load(), 0.01),
    )  # fmt: skip
    monkeypatch.setattr(train, "speed_without_data", without)
    monkeypatch.setattr(train, "processors", lambda: 2)
    monkeypatch.setattr(train, "compute_threads", lambda: 2)
    monkeypatch.setattr(train, "has_torch", lambda: True)
    monkeypatch.setattr(train, "has_bfloat16", lambda: True)
    figures = train.run(64, 2)
    return figures, [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_ratios_are_taken_within_a_round(rows):
    figures, lines = rows
    words = [line.split() for line in lines]
    at = words.index("resnet-18 float32 mxnet, images/s 22.05".split())
    assert words[at + 1] == "of its speed without data 98.0% 97 %".split()
    assert words[at + 2] == "of MXNet with its defaults 1.96 1.9".split()
    at = words.index("resnet-18 float32 torch, images/s 19.84".split())
    assert words[at + 2] == "of --engine mxnet 0.90 0.95".split()
    assert words[at + 3] == "with --deterministic, of without 0.50".split()
    assert "2 trainings of 1 thread at once, of one alone 1.80 bound".split() in words
    assert figures["all_processors"] == pytest.approx(1.8)
    assert figures["resnet_18_float32_torch_of_mxnet"] == pytest.approx(0.9)
    assert figures["resnet_18_float32_mxnet_of_without_data"] == pytest.approx(0.98)
    assert figures["mxnet_defaults"] == pytest.approx(15 * 0.75)


def test_the_second_epoch_is_measured_as_a_whole(monkeypatch, tmp_path):
    def event(kind, epoch, speed, waited):
        found = {"event": kind, "epoch": epoch, "update": 0}
        return {**found, "images_per_second": speed, "wait_share": waited}

    def trains(command, **_):
        prefix = Path(command[command.index("--model-prefix") + 1])
        prefix.parent.mkdir()
        events = [
            event("epoch", 1, 1.0, 0.5), event("interval", 2, 90.0, 0.25),
            event("interval", 2, 10.0, 0.0), event("epoch", 2, 18.0, 0.125),
        ]  # fmt: skip
        lines = "".join(json.dumps(one) + "\n" for one in events)
        (prefix.parent / "events.jsonl").write_text(lines)

    monkeypatch.setattr(train.subprocess, "run", trains)
    assert train._fit(str(tmp_path), "a.rec", ("resnet-18", "float32", "mxnet"), 0) == (18.0, 0.125)
