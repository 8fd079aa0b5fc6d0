"""Lists of reviewed labels: CSV files of the label audit and of the report.

Columns are found by their names in the first line; others are ignored.

- `key` of the image in the .idx, or `file` in the .lst; the report adds `image`, its place in the
  dataset, since shards may share keys.
- `given` and `proposed`: ids of classes (audit), or `label` and `class`: their numbers (report).
- `verdict`: empty, ok, wrong (the report writes `wrong label`) or ambiguous.
"""

import csv
import io
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Tuple

from imagenet_trainer.errors import InputError
from imagenet_trainer.system.files import read_bytes

OK, WRONG, AMBIGUOUS = "ok", "wrong", "ambiguous"
_VERDICTS = {"": "", OK: OK, WRONG: WRONG, "wrong label": WRONG, AMBIGUOUS: AMBIGUOUS}
COLUMNS = ("key", "file", "given", "proposed", "verdict")  # of the audit


class Review(NamedTuple):
    """A row of a list."""

    image: int  # -1: the list has no positions
    key: int  # -1: the row has none, but a file
    file: str
    given: str
    proposed: str  # "": no class is proposed
    has_numbers: bool  # given and proposed are numbers of classes, not ids
    verdict: str  # "": not reviewed
    where: str  # file and line, for messages


def read_reviews(path: str) -> List[Review]:
    """The rows of a list; InputError for one that is not a row of it, with file and line.

    Also InputError for a list in which no row has a verdict, or an image has two.
    """
    text = read_bytes(Path(path)).decode("utf-8-sig", "replace")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        known = set(rows.fieldnames or ())
        for names in ({"key", "file"}, {"given", "label"}, {"verdict"}):
            if not names & known:
                raise InputError(
                    f"{path}: is not a list of reviewed labels: its first line has no {min(names)};"
                    " evaluate --audit and the report write such lists"
                )
        reviews = [_review(row, f"{path}: line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise InputError(f"{path}: line {rows.line_num}: {error}") from error
    if reviews and not any(one.verdict for one in reviews):
        raise InputError(
            f"{path}: no row has a verdict; write ok, wrong or ambiguous into that column"
        )
    _check_repeated(reviews)
    return reviews


def _check_repeated(reviews: Iterable[Review]) -> None:
    """Raise InputError for an image with two verdicts, as where two lists were joined."""
    seen: Dict[Tuple[int, int, str], Review] = {}
    for one in reviews:
        if one.verdict:
            first = seen.setdefault((one.image, one.key, one.file), one)
            if (one.verdict, one.proposed) != (first.verdict, first.proposed):
                line = first.where.rpartition(": ")[2]
                raise InputError(
                    f"{one.where}: has another verdict on the same image than {line}; keep one"
                )


def _review(row: Dict[str, str], where: str) -> Review:
    has_numbers = "given" not in row
    names = ("key", "file", *(("label", "class") if has_numbers else ("given", "proposed")))
    key, file, given, proposed = ((row.get(name) or "").strip() for name in names)
    verdict = (row["verdict"] or "").strip().lower()
    if verdict not in _VERDICTS:
        raise InputError(f"{where}: the verdict {verdict!r} is not ok, wrong or ambiguous")
    image = (row.get("image") or "").strip()
    numbers = [(key, "the key of an image"), (image, "the position of an image")]
    if has_numbers:
        numbers += [(given, "the number of a class"), (proposed, "the number of a class")]
    for text, what in numbers:
        if text and not (text.isascii() and text.isdecimal()):
            raise InputError(f"{where}: {text!r} is not {what}, a whole number")
    if not key and (image or not file):
        raise InputError(f"{where}: has no key of an image")
    place, number = (int(text) if text else -1 for text in (image, key))
    return Review(place, number, file, given, proposed, has_numbers, _VERDICTS[verdict], where)
