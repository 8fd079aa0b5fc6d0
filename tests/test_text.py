import csv
import io
import json
import sys

import numpy as np
import pytest
from helpers.reports import predictions_of, report_of
from helpers.results import result

from imagenet_trainer.comparison.page import Comparison, markdown
from imagenet_trainer.comparison.tables import classes_csv, compare_csv
from imagenet_trainer.errors import InputError, print_message, run_command
from imagenet_trainer.metrics.semantic import short_names
from imagenet_trainer.runs.checkpoint import Checkpoint, CheckpointFiles, Preprocessing, Progress
from imagenet_trainer.runs.events import EventLog, read_events
from imagenet_trainer.runs.logs import RunLog
from imagenet_trainer.text import CsvWriter, csv_cell, json_line, printable
from imagenet_trainer.viz.report import page

TERMINAL, REVERSED, CSI = "\x1b[31m", "\u202e", "\x9b"
BAD = f"a{TERMINAL}b{REVERSED}c{CSI}d\x7f"
SHOWN = r"a\x1b[31mb\u202ec\x9bd\x7f"


def is_clean(text):
    return not any(c in text for c in ("\x1b", REVERSED, CSI, "\x7f", "\u2066", "\r"))


@pytest.mark.parametrize(
    "name, shown",
    [
        ("cat/1 a.jpg", "cat/1 a.jpg"),
        *[(name, name) for name in ("café, 猫, قطة", "ما\u200cرا", "👩\u200d🔬", "5\u00a0%")],
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("\ud800", r"\ud800"),
        ("a\tb\nc\r\x1b[31m.jpg", r"a\tb\nc\r\x1b[31m.jpg"),
        (BAD, SHOWN),
        ("\u2028\u2066\ufeff\U000e0041", r"\u2028\u2066\ufeff\U000e0041"),
    ],
)  # fmt: skip
def test_names_are_visible_on_one_line(name, shown):
    assert printable(name) == shown
    assert printable(shown) == shown
    shown.encode("utf-8")


def test_characters_to_keep():
    assert printable("a\tb\n\x1b", "\n\t") == "a\tb\n\\x1b"


@pytest.mark.parametrize("value", [-0.5, 3, None, "-0.5", "+1e-3", "-inf", "-12", "", "cat", "a=b"])
def test_numbers_and_usual_names_stay_as_they_are(value):
    assert csv_cell(value) is value


@pytest.mark.parametrize(
    "name, cell",
    [("=1+1", "'=1+1"), ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"), ("-2+3", "'-2+3"),
     ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", r"\t=1"), ("\r=1", r"\r=1"), (BAD, SHOWN)],
)  # fmt: skip
def test_names_that_a_spreadsheet_would_execute(name, cell):
    file = io.StringIO(newline="")
    CsvWriter(file).writerows([["name", "share"], [name, "-0.250000"]])
    [_, row] = list(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert row == [cell, "-0.250000"]


def test_json_has_escapes_and_the_same_value():
    value = {"name": BAD + "é\U000e0041"}
    line = json_line(value)
    assert is_clean(line) and "é" in line and json.loads(line) == value


def test_a_command_prints_names_and_errors_without_control_characters(capsys):
    def body():
        print(f"class\t{BAD}\nnext")
        sys.stdout.writelines([BAD])
        raise InputError(f"{BAD}: is wrong")

    assert run_command("some", body) == 2
    output, error = capsys.readouterr()
    assert output == f"class\t{SHOWN}\nnext\n{SHOWN}"
    assert error == f"some: error: {SHOWN}: is wrong\n"
    print_message("some", "line\nother")
    assert capsys.readouterr().err == "some: line\\nother\n"


def test_log_and_events(tmp_path, capsys):
    with RunLog(tmp_path / "log.txt", 0) as log:
        log.info(f"Epoch[0]\t{BAD}")
    assert f"Epoch[0]\t{SHOWN}\n" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert is_clean(capsys.readouterr().err)
    events = EventLog(tmp_path / "events.jsonl", print)
    events.write("bad_record", {"image": BAD, "update": 1})
    events.close()
    assert is_clean((tmp_path / "events.jsonl").read_text(encoding="utf-8"))
    assert read_events(tmp_path / "events.jsonl")[0]["image"] == BAD


def test_classes_of_a_checkpoint(tmp_path):
    files = CheckpointFiles(tmp_path / "a.params", tmp_path / "a.npz")
    how = Preprocessing((3, 8, 8), (0.0,) * 3, (1.0,) * 3, 0)
    arrays = {"w": np.zeros(1, np.float32)}
    files.write(Checkpoint(arrays, {}, Progress(), {}, how, ((BAD, BAD), ("b", "b"))))
    assert files.read(1).classes == ((SHOWN, SHOWN), ("b", "b"))


def test_pages_and_pictures():
    classes = [(BAD, BAD), ("b", "b"), ("c", "c")]
    assert short_names(classes)[0] == SHOWN
    html = page(report_of(classes, predictions=predictions_of(3), title=BAD, facts=[(BAD, BAD)]))
    assert is_clean(html)
    data = json.loads(html.partition('id="data">')[2].partition("</script>")[0])
    assert data["names"][0] == SHOWN


def test_tables_of_a_comparison():
    one = result("=1+1", flags=BAD)
    rows = list(csv.DictReader(io.StringIO(compare_csv([one, result("b")]))))
    assert [row["network"] for row in rows] == ["'=1+1", "b"] and rows[0]["flags"] == SHOWN
    assert float(rows[0]["rank1"]) == one.rank1
    assert is_clean(classes_csv([one]))
    assert is_clean(markdown(Comparison(BAD, [(BAD, BAD)], [], {BAD: BAD}, [BAD]), {}))
