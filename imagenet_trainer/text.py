"""Text from outside, such as names of classes and files, on its way out of the program.

A name may hold escape sequences of a terminal, line breaks that imitate other lines, characters
that reverse the direction of what follows, or a formula that a spreadsheet executes. Here is the
only place that neutralises them: `printable` for consoles, logs, pages and pictures, `CsvWriter`
for tables.
"""

import contextlib
import csv
import json
import re
import unicodedata
from typing import IO, Any, Iterable, Iterator, TextIO

OUTPUT = "standard output"  # in messages

# Control and format characters (those for direction among them), surrogates, and the separators of
# lines and paragraphs. The two joiners are part of the spelling in several alphabets.
_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = "\u200c\u200d"
_FORMULA = ("=", "+", "-", "@")  # the first characters of formulas
_BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))  # Python's codes of bytes that are not UTF-8
_LAYOUT = "\n\t"  # what the program's own text contains


def printable(text: str, keep: str = "") -> str:
    r"""Text on one line: other than visible characters become escapes such as `\x1b` and `\u202e`.

    Bytes of file names that are not UTF-8 become `\xe4`. Characters in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or _is_visible(c) else _escape(c) for c in text)


def tag_of(name: str) -> str:
    """A name in the characters that TensorBoard allows in tags."""
    return re.sub(r"[^-/\w.]", "_", name)


def csv_cell(value: Any) -> Any:
    """A value for a cell of a CSV file, which a spreadsheet does not take for a formula.

    Text that begins like one gets an apostrophe in front. Numbers, also as text, stay as they are,
    and so do bytes of file names that are not UTF-8, without which no program finds the file.
    """
    if not isinstance(value, str):
        return value
    text = printable(value, _BYTES)
    return f"'{text}" if text.startswith(_FORMULA) and not _is_number(text) else text


class CsvWriter:
    """Writes rows of CSV with the cells of `csv_cell`; lines end with a line feed."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.writer(file, lineterminator="\n")

    def writerow(self, row: Iterable[Any]) -> None:
        """Write a row."""
        self._writer.writerow([csv_cell(value) for value in row])

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        """Write several rows."""
        for row in rows:
            self.writerow(row)


def json_line(value: Any, **options: Any) -> str:
    """The value as JSON on one line, readable, with escapes for what `printable` escapes."""
    text = json.dumps(value, ensure_ascii=False, **options)
    if text.isprintable():
        return text
    return "".join(c if _is_visible(c) else json.dumps(c)[1:-1] for c in text)


class PrintableOutput:
    """A text stream that passes on `printable` text, line breaks and tabs to standard output.

    The `filename` of its errors is OUTPUT.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; returns the number of its characters."""
        with _errors_of_output():
            self._stream.write(printable(text, _LAYOUT))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with _errors_of_output():
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _errors_of_output() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        error.filename = OUTPUT
        raise


def _is_visible(character: str) -> bool:
    return character in _JOINERS or unicodedata.category(character) not in _CATEGORIES


def _escape(character: str) -> str:
    if character in _BYTES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
