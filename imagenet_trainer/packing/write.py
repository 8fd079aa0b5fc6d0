"""Writing shards: images converted by threads, written in the list's order, resumable.

During packing, `.rec.partial` and `.idx.partial` contain the records and the journal
PREFIX.json.partial the progress; an interrupted pack resumes from the journal's last mark. When all
images are packed the files are renamed, the manifest last.
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
    class_of,
    load_manifest,
    read_manifest,
    write_manifest,
)
from imagenet_trainer.data.records.record_writer import RecordWriter
from imagenet_trainer.data.records.recordio import record_length
from imagenet_trainer.data.records.shard_names import shards_named
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.journal import Journal
from imagenet_trainer.packing.parallel import ProgressCallback, in_order
from imagenet_trainer.packing.plan import OnRemark, Pack, ignore, root_name
from imagenet_trainer.system.files import file_error, remedy

_SECONDS_BETWEEN_MARKS = 0.2


class TooManyRejected(InputError):
    """More images of a pack were rejected than allowed."""


class EmptyShard(InputError):
    """Every image of a shard was rejected."""


def finished(pack: Pack) -> Optional[Manifest]:
    """The manifest on disk if it is that of this pack and complete; None otherwise."""
    try:
        manifest = read_manifest(pack.prefix + ".rec")
    except InputError:
        return None
    if manifest is None or manifest.classes != pack.classes:
        return None
    identity = pack.identity()
    manifest = replace(manifest, root=root_name(manifest.root))  # older versions wrote it as given
    if "restart" not in manifest.settings:  # older than this setting; the pack is as good as ever
        del identity["settings"]["restart"]
    if any(getattr(manifest, key) != value for key, value in identity.items()):
        return None
    total = len(manifest.shards)
    for number, shard in enumerate(manifest.shards):
        stem = pack.stem(number, total)
        if not (os.path.exists(stem + ".idx") and _size(stem + ".rec") == shard.bytes):
            return None
    return manifest


def _size(path: str) -> int:
    """Length of a file in bytes; -1 if it does not exist."""
    try:
        return os.path.getsize(path)
    except OSError:
        return -1


def write_pack(
    pack: Pack,
    threads: int,
    most_rejected: int,
    progress: ProgressCallback,
    log: Callable[[str], None],
    on_remark: OnRemark = ignore,
) -> Manifest:
    """Pack a list into shards, their indexes and PREFIX.json; resume an interrupted pack.

    Parameters
    ----------
    pack, threads
        what to pack; the number of threads, on which the bytes do not depend.
    most_rejected
        number of images that may be rejected.
    progress
        called with (images done, images, rejected) after every image.
    log
        called with a message when an unfinished pack is resumed or discarded.
    on_remark
        as in `Pack.converter`.

    Raises
    ------
    TooManyRejected, EmptyShard
        more than `most_rejected` images were rejected, or all images of a shard.
    InputError
        the disk is full, the folder is not writable, or another process is packing this prefix.
        What has been packed is kept, and the next call resumes.

    """
    try:
        with Journal(pack.prefix + ".json.partial", pack.identity()) as journal:
            if not _matches_files(pack, journal):
                journal.begin()
            if journal.obsolete is None:
                obsolete_files = _obsolete_files(pack)
                if journal.done:
                    log(f"resumes after image {journal.done:,} of {len(pack.images):,}")
                elif journal.stale:
                    log("starts over: the list or a setting is not that of the unfinished pack")
                convert = pack.converter(on_remark)
                _write_records(pack, convert, threads, most_rejected, progress, journal)
                _remove_partials(pack, len(journal.shards))
                journal.name_files(obsolete_files(len(journal.shards)))
            manifest = _manifest_of(pack, journal)
            _rename(pack, journal, manifest)
            os.unlink(pack.prefix + ".json.partial")
    except OSError as error:
        advice = f"{remedy(error)}, then run the same command again to continue"
        raise file_error(pack.prefix + ".rec", error, advice) from error
    return manifest


def _matches_files(pack: Pack, journal: Journal) -> bool:
    total = len(journal.shards)
    for number, shard in enumerate(journal.shards):
        sizes = [_size(pack.stem(number) + ".rec.partial")]
        if journal.obsolete is not None:  # it may be renamed already
            sizes.append(_size(pack.stem(number, total) + ".rec"))
        if shard.bytes not in sizes:
            return False
    current = (f"{pack.stem(total)}.{kind}.partial" for kind in ("rec", "idx"))
    return all(
        not length or _size(path) >= length for path, length in zip(current, journal.lengths)
    )


# --- writing -----------------------------------------------------------------------------------


def _write_records(
    pack: Pack,
    convert: Callable[[int], Tuple[bytes, str]],
    threads: int,
    most_rejected: int,
    progress: ProgressCallback,
    journal: Journal,
) -> None:
    total = len(pack.images)
    if journal.done == total and journal.shards and not journal.lengths[0]:
        return
    results = in_order(convert, range(journal.done, total), threads)
    with _ShardWriter(pack, journal) as writer:
        last_mark = time.monotonic()
        try:
            for line, (payload, reason) in enumerate(results, journal.done):
                if reason:
                    journal.reject(line, reason)
                    if len(journal.rejected) > most_rejected:
                        raise _too_many_rejected(pack, journal.rejected, line + 1, most_rejected)
                else:
                    writer.write(line, payload)
                writer.done = line + 1
                progress(line + 1, total, len(journal.rejected))
                if time.monotonic() - last_mark >= _SECONDS_BETWEEN_MARKS:
                    writer.mark()
                    last_mark = time.monotonic()
            writer.end()
        except BaseException:  # Ctrl-C too: what is converted is kept
            with contextlib.suppress(OSError):
                writer.mark_now()
            raise
        finally:
            results.close()


class _ShardWriter:
    """Writes the current shard; it and the shards before it contain `done` lines of the list.

    A separate thread writes the marks: a disk takes longer to confirm the data than the images took
    to convert, and packing continues meanwhile.
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
        """Append the record of a line, to the next shard if this one is full."""
        pack, shards = self._pack, self._journal.shards
        length = record_length(payload) if pack.shard_bytes else 0
        while pack.begins_shard(len(shards), self._writer.rec_bytes, length, line):
            self._complete()
            self._open((0, 0))
        self._writer.write(pack.images.indices[line], payload)

    def _complete(self) -> None:
        self._wait()
        writer, number = self._writer, len(self._journal.shards)
        if not writer.checksums:
            which = f"shard {number} of {self._pack.shards}" if self._pack.shards else "the list"
            line, reason = next(reversed(self._journal.rejected.items()))
            raise EmptyShard(
                f"{self._pack.prefix}.rec: every image of {which} was rejected, last "
                f"{self._pack.images.paths[line]}: {reason}"
            )
        writer.flush()
        writer.sync()
        writer.close()
        self._journal.complete(self.done, writer.entry(""))

    def end(self) -> None:
        """Complete the last shard."""
        self._complete()
        while len(self._journal.shards) < self._pack.shards:
            self._open((0, 0))
            self._complete()

    def mark(self) -> None:
        """Start to sync all data so far and to journal it, unless a mark is being written.

        Raises OSError if the previous mark failed.
        """
        if self._writer.closed or (self._marking and not self._marking.done()):
            return
        self._wait()
        writer = self._writer
        writer.flush()
        lengths = writer.rec_bytes, writer.idx_bytes
        self._marking = self._disk.submit(self._sync_and_mark, writer, self.done, lengths)

    def _sync_and_mark(self, writer: RecordWriter, done: int, lengths: Tuple[int, int]) -> None:
        writer.sync()
        self._journal.mark(done, lengths)

    def _wait(self) -> None:
        """Wait for the mark that is being written."""
        marking, self._marking = self._marking, None
        if marking:
            marking.result()

    def mark_now(self) -> None:
        """Mark everything so far and wait for it."""
        self._wait()
        self.mark()
        self._wait()

    def __enter__(self) -> "_ShardWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._disk.shutdown()
        self._writer.close()


def _too_many_rejected(
    pack: Pack, rejected: Dict[int, str], done: int, most: int
) -> TooManyRejected:
    line, reason = next(iter(rejected.items()))
    return TooManyRejected(
        f"{pack.prefix}.rec: {len(rejected):,} of the first {done:,} images were rejected and "
        f"{most:,} are allowed, first {pack.images.paths[line]}: {reason}"
    )


# --- file names --------------------------------------------------------------------------------


def _obsolete_files(pack: Pack) -> Callable[[int], List[str]]:
    """A function from the number of shards to the files of the previous pack that are obsolete.

    Raises InputError if the folder contains shards of this prefix that no manifest lists: the new
    shards could not be distinguished from them.
    """
    try:
        previous = load_manifest(pack.prefix + ".json")
    except InputError:
        known = set()
    else:
        folder = os.path.dirname(pack.prefix)
        known = {os.path.join(folder, shard.file) for shard in previous.shards}
    unlisted = _shards_on_disk(pack.prefix) - known
    if not pack.shard_bytes:
        total = pack.shards
        unlisted -= {pack.stem(number, total) + ".rec" for number in range(total or 1)}
    if unlisted:
        raise InputError(
            f"{min(unlisted)}: looks like a shard of this pack, but no manifest lists it; move it "
            "to another folder"
        )

    def obsolete(total: int) -> List[str]:
        old = known - {pack.stem(number, total) + ".rec" for number in range(total)}
        return sorted(old | {os.path.splitext(path)[0] + ".idx" for path in old})

    return obsolete


def _shards_on_disk(prefix: str) -> set:
    """The existing files PREFIX.rec and PREFIX-*-of-*.rec."""
    pattern = shards_named(prefix)
    return {path for path in glob.glob(glob.escape(prefix) + "*.rec") if pattern.fullmatch(path)}


def _remove_partials(pack: Pack, total: int) -> None:
    """Remove the partial files of an unfinished pack with other settings."""
    own = {f"{pack.stem(n)}.{kind}.partial" for n in range(total) for kind in ("rec", "idx")}
    pattern = re.compile(re.escape(pack.prefix) + r"(-\d{5})?\.(rec|idx)\.partial")
    for path in glob.glob(glob.escape(pack.prefix) + "*.partial"):
        if pattern.fullmatch(path) and path not in own:
            os.unlink(path)


def _rename(pack: Pack, journal: Journal, manifest: Manifest) -> None:
    """Rename the files to their final names; after an interruption, rename the remaining ones."""
    # The old manifest must never be seen together with new shards.
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


def _manifest_of(pack: Pack, journal: Journal) -> Manifest:
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
