"""The parts of tools/storm.sh; a short storm is among the slow tests."""

import importlib
import os
import random
import signal
import subprocess

import pytest
from conftest import ROOT, needs_mxnet


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("storm_children")


def test_damage_follows_from_the_seed_and_changes_the_file(parts, tmp_path):
    path, first = tmp_path / "a", bytes(range(256)) * 4
    results = []
    for _ in range(2):
        draw, found = random.Random(5), []
        for _ in range(60):
            path.write_bytes(first)
            done = parts.damage(path, draw)
            found.append((done, path.read_bytes()))
        results.append(found)
    assert results[0] == results[1]
    assert all((data != first) == bool(done) for done, data in results[0])
    assert len({done.split()[0] for done, _ in results[0] if done}) == 10  # every kind
    path.write_bytes(b"")
    for _ in range(60):
        parts.damage(path, draw)  # also of what it has emptied


@pytest.mark.parametrize(
    ("code", "output", "kind"),
    [
        (0, "", "done"),
        (2, "fit: error: x", "error line"),
        (1, "im2rec: 3 images were rejected", "error line"),
        (1, "", "traceback"),
        (2, "Traceback (most recent call last):\nfit: error: x", "traceback"),
        (0, "Exception ignored in: x", "traceback"),
        (-11, "", "signal"),
        (None, "", "hang"),
    ],
)
def test_how_a_command_ended(parts, code, output, kind):
    assert parts.Ended(code, output, 1.0).kind == kind


def test_how_a_signal_may_end_a_command(parts):
    ends = [parts.Ended(code, "", 1.0).fault_after(signal.SIGTERM) for code in (0, -15, 143, 1)]
    assert ends == ["", "", "", "traceback"]
    assert parts.Ended(None, "", 1.0).fault_after(signal.SIGTERM) == "hang"
    assert parts.Ended(143, "Traceback", 1.0).fault_after(signal.SIGTERM) == "traceback"


def test_the_progress_ends_at_one(parts, monkeypatch, tmp_path):
    storm = importlib.import_module("storm")
    monkeypatch.setattr(storm, "INSTALLED", [])
    monkeypatch.setattr(storm, "must", lambda *_: parts.Ended(0, "", 1.0))
    monkeypatch.setattr(storm, "_kill_until_it_ends", lambda *_: 30)  # of a scenario
    (tmp_path / "base").mkdir()
    table = storm.Table()
    assert [*storm.kills(tmp_path / "base", 40, random.Random(0), table)] == [0.75, 1.0]
    assert table.rows["im2rec.py"] == {"same": 2} and not table.faults


@needs_mxnet
@pytest.mark.slow
def test_a_short_storm(tmp_path):
    result = subprocess.run(
        ["bash", ROOT / "tools" / "storm.sh", "--kills", "9", "--damages", "62", "--conditions",
         "1", "--hung", "0"],
        env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "\n0 faults\n" in result.stdout
