"""Images into shards: converted by threads, written in the list's order, resumable.

While a pack grows, `.rec.partial` and `.idx.partial` hold its records and the journal
PREFIX.json.partial says how far it has come; packing goes on from its last mark. The files take
their names when all is packed, the manifest last.
"""

import contextlib
import glob
import os
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Callable, Dict, List, Optional, Tuple

from imagenet_trainer.data.records.manifest import (
    Manifest,
    Rejected,
    Shard,
    class_of,
    encode_checksums,
    load_manifest,
    read_manifest,
    write_manifest,
)
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import record_length
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.journal import Journal
from imagenet_trainer.packing.parallel import Progress, in_order
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.system.files import file_error

_SECONDS_BETWEEN_MARKS = 0.2


def finished(pack: Pack) -> Optional[Manifest]:
    """The manifest of this very pack where it is complete; None where it has to be packed."""
    try:
        manifest = read_manifest(pack.prefix + ".rec")
    except InputError:
        return None
    if manifest is None or manifest.classes != pack.classes:
        return None
    if any(getattr(manifest, key) != value for key, value in pack.identity().items()):
        return None
    total = len(manifest.shards)
    for number, shard in enumerate(manifest.shards):
        stem = pack.stem(number, total)
        if not (os.path.exists(stem + ".idx") and _size(stem + ".rec") == shard.bytes):
            return None
    return manifest


def _size(path: str) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def write_pack(
    pack: Pack,
    threads: int,
    most_rejected: int,
    progress: Progress,
    say: Callable[[str], None],
) -> Manifest:
    """Pack a list into shards, their indexes and PREFIX.json; go on where it was interrupted.

    Parameters
    ----------
    pack, threads
        what to pack; the bytes do not depend on the threads.
    most_rejected
        images that may be left out because they are damaged; one more is an InputError.
    progress
        called with (lines done, lines, rejected) after every image.
    say
        called with a sentence when the pack is not begun from nothing.

    Raises
    ------
    InputError
        too many damaged images, a full disk, a folder that cannot be written, another process
        at work on the same prefix. What is packed stays for the next time.

    """
    try:
        with Journal(pack.prefix + ".json.partial", pack.identity()) as journal:
            if not _there(pack, journal):
                journal.begin()
            if journal.obsolete is None:
                obsolete = _obsolete(pack)
                if journal.done:
                    say(f"continues after image {journal.done:,} of {len(pack.images):,}")
                elif journal.stale:
                    say("begins anew: the list or a flag is not that of the unfinished pack")
                _write_records(pack, threads, most_rejected, progress, journal)
                _remove_partials(pack, len(journal.shards))
                journal.name_files(obsolete(len(journal.shards)))
            manifest = _describe(pack, journal)
            _take_names(pack, journal, manifest)
            os.unlink(pack.prefix + ".json.partial")
    except OSError as error:
        advice = "what is packed stays; make room or rights, then run the same command again"
        raise file_error(pack.prefix + ".rec", error, advice) from error
    return manifest


def _there(pack: Pack, journal: Journal) -> bool:
    """Whether the files have what the journal says."""
    total = len(journal.shards)
    for number, shard in enumerate(journal.shards):
        sizes = [_size(pack.stem(number) + ".rec.partial")]
        if journal.obsolete is not None:  # it may have its name already
            sizes.append(_size(pack.stem(number, total) + ".rec"))
        if shard.bytes not in sizes:
            return False
    growing = (f"{pack.stem(total)}.{kind}.partial" for kind in ("rec", "idx"))
    return all(
        not length or _size(path) >= length for path, length in zip(growing, journal.lengths)
    )


# --- writing -----------------------------------------------------------------------------------


def _write_records(
    pack: Pack, threads: int, most_rejected: int, progress: Progress, journal: Journal
) -> None:
    total = len(pack.images)
    if journal.done == total and journal.shards and not journal.lengths[0]:
        return
    results = in_order(pack.converter(), range(journal.done, total), threads)
    with _Growth(pack, journal) as growth:
        marked = time.monotonic()
        try:
            for line, (payload, reason) in enumerate(results, journal.done):
                if reason:
                    journal.reject(line, reason)
                    if len(journal.rejected) > most_rejected:
                        raise _too_many(pack, journal.rejected, line + 1, most_rejected)
                else:
                    growth.write(line, payload)
                growth.done = line + 1
                progress(line + 1, total, len(journal.rejected))
                if time.monotonic() - marked >= _SECONDS_BETWEEN_MARKS:
                    growth.mark()
                    marked = time.monotonic()
            growth.end()
        except BaseException:
            with contextlib.suppress(OSError):
                growth.mark_now()
            raise
        finally:
            results.close()


class _Growth:
    """The shard that grows; `done` lines of the list are in it and in those before it.

    Marks are made by a thread of their own: a disk takes longer to confirm what it was given than
    the images in it took, and packing goes on meanwhile.
    """

    def __init__(self, pack: Pack, journal: Journal):
        self._pack, self._journal = pack, journal
        self.done = journal.done
        self._disk = ThreadPoolExecutor(1, "mark")
        self._marking: Optional[Future[None]] = None
        self._open(journal.lengths)

    def _open(self, keep: Tuple[int, int]) -> None:
        stem = self._pack.stem(len(self._journal.shards))
        self._writer = RecordWriter(stem + ".rec.partial", stem + ".idx.partial", keep)

    def write(self, line: int, payload: bytes) -> None:
        """Append the record of a line, to the next shard if it belongs there."""
        pack, shards = self._pack, self._journal.shards
        length = record_length(payload) if pack.shard_bytes else 0
        # A shard may hold one record that is larger than it should be, but not be empty.
        while pack.is_full(len(shards), self._writer.rec_bytes + length, line) and (
            pack.shards or self._writer.rec_bytes
        ):
            self._complete()
            self._open((0, 0))
        self._writer.write(pack.images.indices[line], payload)

    def _complete(self) -> None:
        self._settle()
        writer, number = self._writer, len(self._journal.shards)
        if not writer.checksums:
            which = f"shard {number} of {self._pack.shards}" if self._pack.shards else "the list"
            line, reason = next(reversed(self._journal.rejected.items()))
            raise InputError(
                f"{self._pack.prefix}.rec: not one image of {which} could be packed, last "
                f"{self._pack.images.paths[line]}: {reason}"
                + ("; give fewer --shards" if self._pack.shards else "")
            )
        writer.flush()
        writer.sync()
        writer.close()
        shard = Shard(
            "", writer.rec_bytes, writer.sha256.hexdigest(), len(writer.checksums),
            encode_checksums(writer.checksums),
        )  # fmt: skip
        self._journal.complete(self.done, shard)

    def end(self) -> None:
        """Complete the last shard."""
        self._complete()
        while len(self._journal.shards) < self._pack.shards:
            self._open((0, 0))
            self._complete()

    def mark(self) -> None:
        """Begin to bring everything so far to the disk and to note it, unless that is under way.

        Raises OSError where the one before failed.
        """
        if self._writer.closed or (self._marking and not self._marking.done()):
            return
        self._settle()
        writer = self._writer
        writer.flush()
        place = self.done, (writer.rec_bytes, writer.idx_bytes)
        self._marking = self._disk.submit(self._note, writer, *place)

    def _note(self, writer: RecordWriter, done: int, lengths: Tuple[int, int]) -> None:
        writer.sync()
        self._journal.mark(done, lengths)

    def _settle(self) -> None:
        """Wait for the mark under way."""
        marking, self._marking = self._marking, None
        if marking:
            marking.result()

    def mark_now(self) -> None:
        """Mark everything so far, and wait for it."""
        self._settle()
        self.mark()
        self._settle()

    def __enter__(self) -> "_Growth":
        return self

    def __exit__(self, *exception: object) -> None:
        self._disk.shutdown()
        self._writer.close()


def _too_many(pack: Pack, rejected: Dict[int, str], done: int, most: int) -> InputError:
    line, reason = next(iter(rejected.items()))
    return InputError(
        f"{pack.prefix}.rec: {len(rejected)} of the first {done:,} images cannot be packed "
        f"(--max-rejected allows {most}), first {pack.images.paths[line]}: {reason}; mend them, "
        "take them off the list, or allow more and run again to continue"
    )


# --- names -------------------------------------------------------------------------------------


def _obsolete(pack: Pack) -> Callable[[int], List[str]]:
    """A function from the number of shards to the files of the pack before that it leaves over.

    Raises InputError where shards lie that are of no known pack: beside the new ones nobody could
    tell which are meant.
    """
    try:
        before = load_manifest(pack.prefix + ".json")
    except InputError:
        known = set()
    else:
        folder = os.path.dirname(pack.prefix)
        known = {os.path.join(folder, shard.file) for shard in before.shards}
    strangers = _shards_on_disk(pack.prefix) - known
    if not pack.shard_bytes:
        total = pack.shards
        strangers -= {pack.stem(number, total) + ".rec" for number in range(total or 1)}
    if strangers:
        raise InputError(
            f"{min(strangers)}: is not of this pack, and has no manifest; move it away, as it "
            "would be taken for a part of it"
        )

    def left_over(total: int) -> List[str]:
        old = known - {pack.stem(number, total) + ".rec" for number in range(total)}
        return sorted(old | {os.path.splitext(path)[0] + ".idx" for path in old})

    return left_over


def _shards_on_disk(prefix: str) -> set:
    """PREFIX.rec and PREFIX-*-of-*.rec, as far as they are there."""
    pattern = re.compile(re.escape(prefix) + r"(-\d+-of-\d+)?\.rec")
    return {path for path in glob.glob(glob.escape(prefix) + "*.rec") if pattern.fullmatch(path)}


def _remove_partials(pack: Pack, total: int) -> None:
    """Remove what an unfinished pack with other flags has left."""
    mine = {f"{pack.stem(n)}.{kind}.partial" for n in range(total) for kind in ("rec", "idx")}
    pattern = re.compile(re.escape(pack.prefix) + r"(-\d{5})?\.(rec|idx)\.partial")
    for path in glob.glob(glob.escape(pack.prefix) + "*.partial"):
        if pattern.fullmatch(path) and path not in mine:
            os.unlink(path)


def _take_names(pack: Pack, journal: Journal, manifest: Manifest) -> None:
    """Give the files their names; a second time does what the first has left."""
    # Nobody may meet the manifest of the pack before with shards of this one.
    for path in (pack.prefix + ".json", *(journal.obsolete or ())):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    total = len(journal.shards)
    for number in range(total):
        for kind in ("rec", "idx"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(
                    f"{pack.stem(number)}.{kind}.partial", f"{pack.stem(number, total)}.{kind}"
                )
    write_manifest(pack.prefix + ".json", manifest)


def _describe(pack: Pack, journal: Journal) -> Manifest:
    """The manifest of what was written."""
    rejected = tuple(
        Rejected(pack.images.paths[line], reason) for line, reason in journal.rejected.items()
    )
    counts = [0] * len(pack.classes)
    for line, labels in enumerate(pack.images.labels):
        number = class_of(labels) if pack.classes else None
        if number is not None and line not in journal.rejected:
            counts[number] += 1
    total = len(journal.shards)
    shards = tuple(
        replace(shard, file=os.path.basename(pack.stem(number, total)) + ".rec")
        for number, shard in enumerate(journal.shards)
    )
    return Manifest(pack.classes, tuple(counts), shards, rejected, **journal.identity)
