import json
import math
import os
from datetime import datetime

import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.runs.events import EventLog, read_events


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


@pytest.fixture
def warnings():
    return []


def write(path, *events):
    log = EventLog(path, pytest.fail)
    for kind, update in events:
        log.write(kind, {"update": update})
    log.close()


def events_of(path):
    return [(event["event"], event["update"]) for event in read_events(path)]


def test_one_json_line_per_event(path, warnings):
    log = EventLog(path, warnings.append)
    log.write("interval", {"update": 20, "loss": 1.25, "load": {"cpu": math.nan}, "name": "Käse"})
    log.write("end", {"update": 20, "left": math.inf, "values": (1, -math.inf)})
    lines = path.read_text(encoding="utf-8").splitlines()  # there before the log is closed
    first, second = map(json.loads, lines)
    assert first["event"] == "interval" and first["loss"] == 1.25 and first["name"] == "Käse"
    assert first["load"] == {"cpu": None}  # JSON has no nan
    assert second["left"] is None and second["values"] == [1, None]
    when = datetime.strptime(first["time"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert abs(when.timestamp() - path.stat().st_mtime) < 60
    assert not warnings


def test_a_second_process_appends(path):
    write(path, ("begin", 0), ("interval", 20))
    before = path.read_bytes()
    write(path, ("continue", 20), ("interval", 40))
    assert path.read_bytes().startswith(before)
    assert events_of(path) == [("begin", 0), ("interval", 20), ("continue", 20), ("interval", 40)]


def test_events_repeated_by_a_resumed_run_count_once(path):
    write(path, ("begin", 0), ("interval", 20), ("checkpoint", 20), ("interval", 40))
    write(path, ("continue", 20), ("interval", 40), ("epoch", 50), ("validation", 50))
    assert events_of(path) == [
        ("begin", 0), ("interval", 20), ("checkpoint", 20), ("continue", 20), ("interval", 40),
        ("epoch", 50), ("validation", 50),
    ]  # fmt: skip
    # A third process goes back further, before the start of the second, and a fourth begins again.
    write(path, ("continue", 0), ("interval", 20), ("dead_network", 20), ("competition", 20))
    write(path, ("begin", 0), ("interval", 20))
    assert events_of(path) == [
        ("begin", 0), ("continue", 20), ("continue", 0), ("competition", 20), ("begin", 0),
        ("interval", 20),
    ]  # fmt: skip


def test_a_rollback_invalidates_later_events(path):
    write(path, ("begin", 0), ("interval", 20), ("interval", 40), ("rollback", 20), ("end", 60))
    assert events_of(path) == [("begin", 0), ("interval", 20), ("rollback", 20), ("end", 60)]


@pytest.mark.parametrize("cut", range(1, 30, 7))
def test_an_incomplete_last_line_is_removed(path, cut):
    write(path, ("begin", 0), ("interval", 20))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert events_of(path) == [("begin", 0)]
    write(path, ("continue", 0))
    assert events_of(path) == [("begin", 0), ("continue", 0)]
    assert path.read_bytes().startswith(whole[: whole.index(b"\n") + 1])


def test_a_long_incomplete_line_alone(path):
    path.write_bytes(b"x" * 200_000)
    write(path, ("begin", 0))
    assert events_of(path) == [("begin", 0)]


def test_on_a_full_disk_lines_are_lost_and_reported_once(path, warnings, monkeypatch):
    log = EventLog(path, warnings.append)
    log.write("begin", {"update": 0})
    whole = path.read_bytes()

    class Full:
        def write(self, data):
            path.write_bytes(whole + data[:10])  # the part that still fits
            return 10

        def close(self):
            pass

    log._file = Full()
    log.write("interval", {"update": 20})
    log._file = Full()
    log.write("interval", {"update": 40})
    assert len(warnings) == 1 and "events.jsonl: " in warnings[0]
    log.write("interval", {"update": 60})  # there is space again
    assert events_of(path) == [("begin", 0), ("interval", 60)]


def test_a_missing_folder(tmp_path, warnings):
    log = EventLog(tmp_path / "gone" / "events.jsonl", warnings.append)
    log.write("begin", {"update": 0})
    log.write("end", {"update": 0})
    assert len(warnings) == 1 and "No such file" in warnings[0]


def test_other_workers_write_nothing(tmp_path, warnings):
    log = EventLog(None, warnings.append)
    log.write("begin", {"update": 0})
    log.close()
    assert not os.listdir(tmp_path) and not warnings


@pytest.mark.parametrize(
    "line",
    ["{", "[1]", '{"update": 3}', '{"event": "continue"}', '{"event": "epoch", "update": "3"}'],
)
def test_a_line_that_is_not_an_event(path, line):
    write(path, ("begin", 0))
    with open(path, "a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match="line 2 "):
        read_events(path)
    with pytest.raises(InputError, match="other"):
        read_events(path.with_name("other"))
