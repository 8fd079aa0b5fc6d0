"""The log of a run: lines that parsers of MXNet's logs read, and a progress bar."""

import contextlib
import logging
import math
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from tqdm import tqdm

from imagenet_trainer.metrics.counts import Scores, has_rank5
from imagenet_trainer.text import printable

_LOGGER = "imagenet_trainer"
# MXNet's names of the losses. Both are the mean of -log p of the label.
_LOSSES = {"ce": "cross-entropy", "nll": "nll-loss"}


class RunLog:
    """Logs `TIME Node[rank] message` to standard error and log.txt, above a progress bar.

    Only rank 0 writes the file and draws the bar.
    """

    def __init__(
        self,
        path: Optional[Path],
        rank: int,
        top_k: int = 0,
        losses: Sequence[str] = (),
        classes: Optional[int] = None,
    ) -> None:
        self._rank5 = classes is None or has_rank5(classes)
        self._top_k = 0 if top_k == 5 and not self._rank5 else top_k
        self._losses = [_LOSSES[loss] for loss in losses]
        self._bar: Any = None
        self._logger = logging.getLogger(_LOGGER)
        self._logger.setLevel(logging.INFO)
        self._propagate, self._logger.propagate = self._logger.propagate, False
        pattern = _Printable(f"%(asctime)-15s Node[{rank}] %(message)s")
        self._handlers: List[logging.Handler] = [_Console()]
        if path is not None and rank == 0:
            self._handlers.append(_File(path, encoding="utf-8", delay=True))
        for handler in self._handlers:
            handler.setFormatter(pattern)
            self._logger.addHandler(handler)
        self._show_bar = rank == 0 and sys.stderr.isatty()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        self.close_bar()
        self._logger.propagate = self._propagate
        for handler in self._handlers:
            self._logger.removeHandler(handler)
            with contextlib.suppress(OSError):  # a full disk; see _File
                handler.close()

    def info(self, message: str) -> None:
        """Log a line."""
        self._logger.info(message)

    # --- progress bar --------------------------------------------------------------------------

    def open_bar(self, epoch: int, batches: int, done: int) -> None:
        """Show the progress of an epoch on a terminal."""
        if self._show_bar:
            self._bar = tqdm(
                total=batches, initial=done, desc=f"Epoch[{epoch}]", unit="batch", leave=False
            )

    def advance_bar(self) -> None:
        """Advance by one batch."""
        if self._bar is not None:
            self._bar.update()

    def close_bar(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    # --- lines of MXNet's example scripts ------------------------------------------------------

    def batches(
        self,
        epoch: int,
        first: int,
        last: int,
        scores: Scores,
        seconds: float,
        wait: float,
        left: Optional[float] = None,
    ) -> None:
        r"""Log `Epoch[3] Batch [20-40]\tSpeed: 812.40 samples/sec\taccuracy=0.412000` and more.

        `wait` are the seconds spent waiting for data, `left` those until the end of the run, None
        if unknown.
        """
        values = "\t".join(f"{name}={value:f}" for name, value in self._values(scores).items())
        speed = scores.images / max(seconds, 1e-9)
        self.info(
            f"Epoch[{epoch}] Batch [{first}-{last}]\tSpeed: {speed:.2f} samples/sec\t{values}"
            f"\tdata-wait={100 * wait / max(seconds, 1e-9):.1f}%"
            + ("" if left is None else f"\tleft={duration(left)}")
        )

    def trained(self, epoch: int, scores: Scores, seconds: float) -> None:
        """Log `Epoch[3] Train-accuracy=0.431`, the other metrics, `Epoch[3] Time cost=52.113`."""
        for name, value in self._values(scores).items():
            self.info(f"Epoch[{epoch}] Train-{name}={value:f}")
        self.info(f"Epoch[{epoch}] Time cost={seconds:.3f}")

    def validated(self, epoch: int, scores: Scores, part: str = "Validation") -> None:
        """Log `Epoch[3] Validation-accuracy=0.402`, top_k_accuracy_5, cross-entropy, and more."""
        always = {
            "accuracy": scores.rank1_accuracy,
            **({"top_k_accuracy_5": scores.rank5_accuracy} if self._rank5 else {}),
            **_of_labels(scores),
        }
        for name, value in {**always, **self._values(scores)}.items():
            self.info(f"Epoch[{epoch}] {part}-{name}={value:f}")

    def _values(self, scores: Scores) -> Dict[str, float]:
        values = {"accuracy": scores.rank1_accuracy}
        if self._top_k:
            known = scores.rank_k_accuracy if scores.top_k == self._top_k else math.nan
            value = scores.rank5_accuracy if self._top_k == 5 else known
            values[f"top_k_accuracy_{self._top_k}"] = value
        return {**values, **dict.fromkeys(self._losses, scores.mean_loss)}


def _of_labels(scores: Scores) -> Dict[str, float]:
    """The loss by its name, and of images with several classes the mean average precision."""
    if scores.mean_precision is None:
        return {"cross-entropy": scores.mean_loss}
    return {
        "binary-cross-entropy": scores.mean_loss,
        "mean-average-precision": scores.mean_precision,
    }


def duration(seconds: float) -> str:
    """`0:52:07`, with days if there are any: `2d03:14:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d{hours:02d}" if days else f"{hours}") + f":{minutes:02d}:{rest:02d}"


class _Printable(logging.Formatter):
    """Lines without control characters; the tabs are those of MXNet's lines."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")


class _File(logging.FileHandler):
    """log.txt. On a full disk its lines are lost (standard error has them), the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing; `logging` would print a traceback."""


class _Console(logging.Handler):
    """Standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        # A closed pipe (`2>&1 | head`) must not end a long training.
        with contextlib.suppress(OSError):
            if sys.stderr.isatty():
                tqdm.write(line, file=sys.stderr)
            else:
                print(line, file=sys.stderr, flush=True)
