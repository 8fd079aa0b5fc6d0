"""What happens to a record that cannot be used (`--on-bad-record`).

The position of such a record in a batch is a pure function of the dataset's bytes: no other
position changes, whatever the threads, workers and engine.

- `stop`: its error ends the run.
- `skip`: in training, the next usable image of the dataset takes the position, with the
  augmentation drawn for the position. In evaluation, the image is left out of the result.
- `zero`: the position has a black image, with the label in the record. A record whose label
  cannot be read stops the run.
"""

from dataclasses import dataclass
from typing import Callable, Dict, Iterator, Mapping, Optional

from imagenet_trainer.data.records.record_file import RecordError

STOP, SKIP, ZERO = "stop", "skip", "zero"
USE = "use"  # of a record that the decoder only remarks on
ACTIONS = (SKIP, ZERO, USE)

# From a position in the dataset to the positions that may replace it, in the order of preference.
Successors = Callable[[int], Iterator[int]]


@dataclass(frozen=True)
class Report:
    """A record that was not used as it is, or that the decoder remarked on.

    Attributes
    ----------
    position
        in its batch.
    error
        which record, and why.
    action
        `skip`, `zero`, or `use`: the image was decoded although its data are damaged.

    """

    position: int
    error: RecordError
    action: str

    @property
    def text(self) -> str:
        """One line for a log."""
        done = {SKIP: "skipped", ZERO: "replaced by a black image", USE: "damaged, but used"}
        return f"{done[self.action]}: {self.error}"

    def row(self) -> Dict[str, object]:
        """For events.jsonl."""
        error = self.error
        return {
            "action": self.action, "shard": error.path, "record": error.record,
            "offset": error.offset, "reason": error.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class OnBad:
    """The choice of `--on-bad-record`; `successors` are those of training."""

    action: str = STOP
    successors: Optional[Successors] = None


class Tally:
    """Counts the records that were skipped, replaced or remarked on, and logs the first ones."""

    MOST_LINES = 10

    def __init__(self, log: Callable[[str], object]) -> None:
        self._log, self._lines = log, 0
        self.counts: Dict[str, int] = {}

    def add(self, report: Report) -> None:
        """Count and log one record."""
        self.counts[report.action] = self.counts.get(report.action, 0) + 1
        self._lines += 1
        if self._lines <= self.MOST_LINES:
            self._log(report.text)
        if self._lines == self.MOST_LINES:
            self._log("Further such records are only counted")


def describe_counts(counts: Mapping[str, int]) -> str:
    """`2 skipped, 1 damaged, but used`."""
    words = {SKIP: "skipped", ZERO: "replaced by black images", USE: "damaged, but used"}
    return ", ".join(f"{counts[what]:,} {words[what]}" for what in words if counts.get(what))
