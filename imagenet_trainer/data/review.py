"""Lists of reviewed labels: CSV files of the label audit and of the report.

Columns are found by their names in the first line; others are ignored.

- `key` of the image in the .idx, or `file` in the .lst.
- `given` and `proposed`: ids of classes (audit), or `label` and `class`: their numbers (report).
- `verdict`: empty, ok, wrong (the report writes `wrong label`) or ambiguous.
"""

import csv
import io
from pathlib import Path
from typing import Dict, List, NamedTuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import read_bytes

OK, WRONG, AMBIGUOUS = "ok", "wrong", "ambiguous"
_VERDICTS = {"": "", OK: OK, WRONG: WRONG, "wrong label": WRONG, AMBIGUOUS: AMBIGUOUS}
COLUMNS = ("key", "file", "given", "proposed", "verdict")  # of the audit


class Review(NamedTuple):
    """A row of a list."""

    key: int  # -1: the row has none, but a file
    file: str
    given: str
    proposed: str  # "": no class is proposed
    has_numbers: bool  # given and proposed are numbers of classes, not ids
    verdict: str  # "": not reviewed
    where: str  # file and line, for messages


def read_reviews(path: str) -> List[Review]:
    """The rows of a list; InputError for one that is not a row of it, with file and line."""
    text = read_bytes(Path(path)).decode("utf-8-sig", "replace")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    known = set(rows.fieldnames or ())
    for names in ({"key", "file"}, {"given", "label"}, {"verdict"}):
        if not names & known:
            raise InputError(
                f"{path}: is not a list of reviewed labels: its first line has no {min(names)}; "
                "evaluate --audit and the report write such lists"
            )
    return [_review(row, f"{path}: line {rows.line_num}") for row in rows]


def _review(row: Dict[str, str], where: str) -> Review:
    has_numbers = "given" not in row
    names = ("key", "file", *(("label", "class") if has_numbers else ("given", "proposed")))
    key, file, given, proposed = ((row.get(name) or "").strip() for name in names)
    verdict = (row["verdict"] or "").strip().lower()
    if verdict not in _VERDICTS:
        raise InputError(f"{where}: the verdict {verdict!r} is not ok, wrong or ambiguous")
    if not (key.isascii() and key.isdecimal()) and (key or not file):
        raise InputError(f"{where}: {key!r} is not the key of an image, which is a whole number")
    number = int(key) if key else -1
    return Review(number, file, given, proposed, has_numbers, _VERDICTS[verdict], where)
