import io
import os
import re
import sys
from functools import partialmethod

import pytest
import tqdm

from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs.logs import RunLog, duration

SCORES = Scores(images=40, rank1=10, rank5=30, loss=50.0)
TIME = r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "


def lines_of(text, rank=0):
    """The messages; checks the time and node before each."""
    lines = text.splitlines()
    head = re.compile(rf"{TIME}Node\[{rank}\] ")
    assert all(head.match(line) for line in lines), text
    return [head.sub("", line) for line in lines]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.txt"


# --- lines ----------------------------------------------------------------------------------------


def test_lines_of_parsers(path, capsys):
    with RunLog(path, 0) as log:
        log.batches(3, 20, 40, SCORES, 0.05, 0.01)
        log.trained(3, SCORES, 52.1134)
        log.validated(3, SCORES)
    wanted = [
        "Epoch[3] Batch [20-40]\tSpeed: 800.00 samples/sec\taccuracy=0.250000\tdata-wait=20.0%",
        "Epoch[3] Train-accuracy=0.250000",
        "Epoch[3] Time cost=52.113",
        "Epoch[3] Validation-accuracy=0.250000",
        "Epoch[3] Validation-top_k_accuracy_5=0.750000",
        "Epoch[3] Validation-cross-entropy=1.250000",
    ]
    assert lines_of(path.read_text()) == wanted
    assert lines_of(capsys.readouterr().err) == wanted


def test_time_left(path):
    with RunLog(path, 0) as log:
        log.batches(0, 0, 20, SCORES, 1.0, 0.0, left=3127.4)
    (line,) = lines_of(path.read_text())
    assert line.endswith("\tdata-wait=0.0%\tleft=0:52:07")
    assert [duration(s) for s in (0, 59.6, 3600, 86399, 86400 * 2 + 11647)] == [
        "0:00:00", "0:01:00", "1:00:00", "23:59:59", "2d03:14:07",
    ]  # fmt: skip


def test_more_metrics_of_training(path):
    with RunLog(path, 0, top_k=5, losses=("ce",)) as log:
        log.batches(0, 0, 1, SCORES, 1.0, 0.0)
        log.trained(0, SCORES, 1.0)
    assert lines_of(path.read_text()) == [
        "Epoch[0] Batch [0-1]\tSpeed: 40.00 samples/sec\taccuracy=0.250000"
        "\ttop_k_accuracy_5=0.750000\tcross-entropy=1.250000\tdata-wait=0.0%",
        "Epoch[0] Train-accuracy=0.250000",
        "Epoch[0] Train-top_k_accuracy_5=0.750000",
        "Epoch[0] Train-cross-entropy=1.250000",
        "Epoch[0] Time cost=1.000",
    ]


def test_the_top_k_accuracy_and_both_losses(path):
    scores = Scores(40, 10, 30, 50.0, 20, 3)
    with RunLog(path, 0, top_k=3, losses=("ce", "nll")) as log:
        log.trained(0, scores, 1.0)
        log.validated(0, scores)
        # Counted for another K in part, as after a resume with another flag: unknown.
        log.trained(1, scores + Scores(40, 10, 30, 50.0, 25, 4), 1.0)
    lines = lines_of(path.read_text())
    assert "Epoch[0] Train-top_k_accuracy_3=0.500000" in lines
    assert "Epoch[0] Train-nll-loss=1.250000" in lines
    assert "Epoch[0] Validation-top_k_accuracy_3=0.500000" in lines
    assert "Epoch[0] Validation-top_k_accuracy_5=0.750000" in lines
    assert "Epoch[0] Validation-nll-loss=1.250000" in lines
    assert "Epoch[1] Train-top_k_accuracy_3=nan" in lines


def test_no_images_and_no_time(path):
    # An epoch whose images were all in the last batch of the epoch before.
    with RunLog(path, 0) as log:
        log.batches(1, 0, 0, Scores(), 0.0, 0.0)
        log.trained(1, Scores(), 0.0)
    assert lines_of(path.read_text()) == [
        "Epoch[1] Batch [0-0]\tSpeed: 0.00 samples/sec\taccuracy=nan\tdata-wait=0.0%",
        "Epoch[1] Train-accuracy=nan",
        "Epoch[1] Time cost=0.000",
    ]


def test_a_second_run_appends(path):
    for word in ("first", "second"):
        with RunLog(path, 0) as log:
            log.info(word)
    assert lines_of(path.read_text()) == ["first", "second"]


def test_a_closed_log_writes_nothing(path, tmp_path, capsys):
    with RunLog(path, 0) as first:
        pass
    with RunLog(tmp_path / "other.txt", 0):
        first.info("once")
    assert not path.exists()
    assert lines_of(capsys.readouterr().err) == ["once"]


def test_only_the_first_worker_writes_the_file(path, capsys):
    with RunLog(path, 1) as log:
        log.info("here")
    assert not path.exists()
    assert lines_of(capsys.readouterr().err, rank=1) == ["here"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")
def test_a_full_disk_does_not_end_the_run(path, capsys):
    path.symlink_to("/dev/full")
    with RunLog(path, 0) as log:
        log.info("one")
        log.info("two")
    assert lines_of(capsys.readouterr().err) == ["one", "two"]


# --- progress bar ---------------------------------------------------------------------------------


def steps(log):
    log.open_bar(2, batches=8, done=3)
    log.advance_bar()
    log.info("in between")
    log.advance_bar()
    log.close_bar()


def test_no_bar_without_a_terminal(path, capsys):
    with RunLog(path, 0) as log:
        steps(log)
    assert lines_of(capsys.readouterr().err) == ["in between"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def steps_on_a_terminal(monkeypatch, path, rank, walk=steps):
    """The output on a terminal, with every step of the bar."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(tqdm.tqdm, "__init__", partialmethod(tqdm.tqdm.__init__, mininterval=0))
    with RunLog(path, rank) as log:
        walk(log)
    return sys.stderr.getvalue()


def test_a_bar_on_a_terminal(path, monkeypatch):
    text = steps_on_a_terminal(monkeypatch, path, 0)
    assert "Epoch[2]:  38%" in text and "3/8" in text  # where the run continued
    assert "4/8" in text and "5/8" in text
    # The message is on a separate line; the bar is redrawn below it and removed at the end.
    assert re.search(TIME.replace("^", r"(?:^|[\r\n])") + r"Node\[0\] in between\n", text)
    assert text.index("in between") < text.rindex("Epoch[2]")
    assert text.rpartition("\r")[0].endswith(" ")
    assert lines_of(path.read_text()) == ["in between"]


def test_other_workers_draw_no_bar(path, monkeypatch):
    assert "Epoch[2]" not in steps_on_a_terminal(monkeypatch, path, 1)


def test_an_error_removes_the_bar(path, monkeypatch):
    def fail(log):
        log.open_bar(2, 8, 3)
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        steps_on_a_terminal(monkeypatch, path, 0, fail)
    text = sys.stderr.getvalue()
    assert "3/8" in text and text.rpartition("\r")[0].endswith(" ")
