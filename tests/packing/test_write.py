import errno
import fcntl
import gc
import os
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import needs_mxnet

from imagenet_trainer import assets
from imagenet_trainer.data.images.decode import decode
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import (
    folders_of_classes,
    name_classes,
    read_manifest,
    write_manifest,
)
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.journal import Journal
from imagenet_trainer.packing.lists import make_lists
from imagenet_trainer.packing.parallel import in_order
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.packing.verify import verify as verify_all
from imagenet_trainer.packing.write import (
    EmptyShard,
    RecordWriter,
    TooManyRejected,
    finished,
    write_pack,
)
from imagenet_trainer.system.mxnet_import import mx

PHOTOS = assets.path("photos")


def quiet(*_):
    pass


@pytest.fixture
def prefix(tmp_path):
    """The shipped photographs, listed in a shuffled order."""
    make_lists(
        str(tmp_path / "train"), str(PHOTOS), recursive=True, flat=False, extensions=[".jpg"]
    )
    return tmp_path / "train"


def pack_of(prefix, root=PHOTOS, **conversion):
    images = read_list(f"{prefix}.lst")
    classes = name_classes(folders_of_classes([images]))
    return Pack(str(prefix), str(root), images, classes, Conversion(**conversion))


def run(pack, threads=2, most_rejected=0, progress=quiet, log=quiet):
    return write_pack(pack, threads, most_rejected, progress, log)


def verify(rec, threads, progress):
    """The damage of one shard."""
    return verify_all([rec], threads, progress).damage.get(rec, [])


def files(prefix):
    """What a pack consists of: name and bytes of everything but the list."""
    paths = sorted(prefix.parent.glob(f"{prefix.name}.*"))
    return {path.suffix: path.read_bytes() for path in paths if path.suffix != ".lst"}


def mxnets_pack(prefix, monkeypatch, *words, root=PHOTOS):
    tool = Path(mx.__file__).parent / "tools" / "im2rec.py"
    monkeypatch.setattr(sys, "argv", ["im2rec", *words, str(prefix), str(root)])
    runpy.run_path(str(tool), run_name="__main__")
    gc.collect()  # the tool leaves its files open
    return [path.read_bytes() for path in map(prefix.with_suffix, (".rec", ".idx"))]


# --- agreement with MXNet ----------------------------------------------------------------------


@needs_mxnet
@pytest.mark.parametrize(
    "conversion, words",
    [
        ({}, []),
        ({"resize": 64}, ["--resize", "64"]),
        ({"resize": 300, "quality": 80}, ["--resize", "300", "--quality", "80"]),
        ({"center_crop": True}, ["--center-crop"]),
        ({"center_crop": True, "resize": 50}, ["--center-crop", "--resize", "50"]),
        ({"color": 0, "resize": 64}, ["--color", "0", "--resize", "64"]),
        ({"color": -1, "resize": 64}, ["--color", "-1", "--resize", "64"]),
        ({"pass_through": True}, ["--pass-through"]),
        (
            {"encoding": ".png", "quality": 1, "resize": 32},
            ["--encoding", ".png", "--quality", "1", "--resize", "32"],
        ),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else "",
)
def test_the_pack_is_that_of_mxnet(prefix, monkeypatch, conversion, words):
    theirs = mxnets_pack(prefix, monkeypatch, *words)
    run(pack_of(prefix, **conversion))
    ours = [path.read_bytes() for path in map(prefix.with_suffix, (".rec", ".idx"))]
    assert ours == theirs


@needs_mxnet
def test_several_labels(tmp_path, monkeypatch):
    name = "n02123045/chelsea.jpg"
    (tmp_path / "x.lst").write_text(f"5\t1\t2.5\t-3\t{name}\n6\t4\t{name}\n")
    for pack_label in (False, True):
        theirs = mxnets_pack(tmp_path / "x", monkeypatch, *["--pack-label"][: int(pack_label)])
        manifest = run(pack_of(tmp_path / "x", pack_label=pack_label))
        assert [files(tmp_path / "x")[kind] for kind in (".rec", ".idx")] == theirs
        assert (manifest.classes, manifest.counts, manifest.records) == ((), (), 2)
    assert RecordFile(tmp_path / "x.rec").record(0).labels == (1.0, 2.5, -3.0)


@needs_mxnet
def test_image_record_iter_yields_the_pixels(prefix):
    run(pack_of(prefix, resize=64, center_crop=True, encoding=".png", quality=1))
    images = mx.io.ImageRecordIter(
        path_imgrec=f"{prefix}.rec", data_shape=(3, 64, 64), batch_size=11, preprocess_threads=1
    )
    batch = next(images)
    file = RecordFile(f"{prefix}.rec")
    assert batch.label[0].asnumpy().tolist() == [file.record(n).label for n in range(11)]
    for record, data in enumerate(batch.data[0].asnumpy()):  # (3, 64, 64) RGB
        ours = decode(file.record(record).image)[:, :, ::-1]
        np.testing.assert_array_equal(data.transpose(1, 2, 0), ours)


# --- what is in a pack -------------------------------------------------------------------------


def test_the_manifest_describes_the_pack(prefix):
    manifest = run(pack_of(prefix, resize=64))
    assert manifest == read_manifest(f"{prefix}.rec")
    assert [one.id for one in manifest.classes] == sorted(os.listdir(PHOTOS))
    assert manifest.classes[0].name == "tabby, tabby cat"
    assert manifest.counts == (1, 1, 1, 1, 2, 1, 2, 1, 1)
    assert (manifest.records, manifest.rejected) == (11, ())
    assert manifest.settings["resize"] == 64
    file = RecordFile(f"{prefix}.rec")
    assert file.keys.tolist() == list(read_list(f"{prefix}.lst").indices)
    assert [file.record(n).id for n in range(11)] == file.keys.tolist()
    assert verify(f"{prefix}.rec", 2, quiet) == []


# --- damaged images --------------------------------------------------------------------------


@pytest.fixture
def partly_damaged(tmp_path):
    """A list of good and bad files, and the reasons of the bad ones."""
    photo = (PHOTOS / "n02123045" / "chelsea.jpg").read_bytes()
    png = cv2.imencode(".png", cv2.imread(str(PHOTOS / "n02123045" / "chelsea.jpg")))[1].tobytes()
    narrow = cv2.imencode(".png", np.zeros((1, 9000, 3), np.uint8))[1].tobytes()
    contents = {
        "good.jpg": (photo, ""),
        "cut.jpg": (photo[: len(photo) // 2], "cut short: its end marker is missing"),
        "header.jpg": (photo[:3], "damaged or cut short"),
        "cut.png": (png[: len(png) // 2], "damaged or cut short"),
        "text.jpg": (b"<html>not found</html>", "not an image that can be decoded"),
        "empty.jpg": (b"", "the file is empty"),
        "narrow.png": (narrow, "9000 x 1 pixels are too narrow to resize"),
        "good.png": (png, ""),
    }
    for name, (data, _) in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.jpg").mkdir()
    reasons = {name: reason for name, (_, reason) in contents.items()}
    reasons["folder.jpg"] = "a folder"
    lines = [f"{10 * n}\t{n % 2}\t{name}\n" for n, name in enumerate(reasons)]
    (tmp_path / "x.lst").write_text("".join(lines))
    return tmp_path / "x", {name: reason for name, reason in reasons.items() if reason}


@pytest.mark.parametrize("threads", [1, 3])
def test_damaged_images_go_to_the_manifest(partly_damaged, threads):
    prefix, reasons = partly_damaged
    manifest = run(pack_of(prefix, prefix.parent, resize=32), threads, most_rejected=7)
    assert {one.path: one.reason for one in manifest.rejected} == reasons
    assert (manifest.records, manifest.counts) == (2, (1, 1))
    assert RecordFile(f"{prefix}.rec").keys.tolist() == [0, 70]
    assert verify(f"{prefix}.rec", 2, quiet) == []


def test_pass_through_checks_decodability(partly_damaged):
    prefix, reasons = partly_damaged
    manifest = run(pack_of(prefix, prefix.parent, pass_through=True), most_rejected=6)
    assert {one.path for one in manifest.rejected} == set(reasons) - {"narrow.png"}
    assert RecordFile(f"{prefix}.rec").record(0).image == (
        (prefix.parent / "good.jpg").read_bytes()
    )


def test_too_many_rejected_images_stop_a_pack_that_can_resume(partly_damaged):
    prefix, _ = partly_damaged
    pack = pack_of(prefix, prefix.parent, resize=32)
    with pytest.raises(TooManyRejected, match=r"3 of the first 4 images .*cut\.jpg: "):
        run(pack, most_rejected=2)
    assert not prefix.with_suffix(".rec").exists()
    (prefix.parent / "cut.png").write_bytes((prefix.parent / "good.png").read_bytes())
    messages = []
    manifest = run(pack, most_rejected=6, log=messages.append)
    assert messages == ["resumes after image 3 of 9"]
    # The image that stopped it is repaired and packed; those rejected before stay rejected.
    assert "cut.png" not in {one.path for one in manifest.rejected}
    assert "cut.jpg" in {one.path for one in manifest.rejected}


def test_a_pack_needs_an_image(tmp_path):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "x.lst").write_text("0\t0\ta.jpg\n")
    with pytest.raises(EmptyShard, match=r"x\.rec: .* a\.jpg: "):
        run(pack_of(tmp_path / "x", tmp_path), most_rejected=1)
    assert not (tmp_path / "x.json").exists()


# --- interruptions -----------------------------------------------------------------------------


def interrupt_at(number, error):
    def progress(done, *_):
        if done == number:
            raise error

    return progress


@pytest.mark.parametrize("kind", ["rec", "idx", "json"])
def test_truncated_lines_are_ignored(prefix, kind):
    pack = pack_of(prefix, resize=64)
    run(pack)
    expected = files(prefix)
    with pytest.raises(KeyboardInterrupt):
        run(pack, progress=interrupt_at(5, KeyboardInterrupt()))
    partial = Path(f"{prefix}.{kind}.partial")
    with open(partial, "ab") as file:
        file.write(b'{"done": 9, "rec": 1')
    run(pack)
    assert files(prefix) == expected
    # If a file is shorter than its mark, packing starts from the beginning.
    with pytest.raises(KeyboardInterrupt):
        run(pack, progress=interrupt_at(5, KeyboardInterrupt()))
    partial.write_bytes(partial.read_bytes()[:-3])
    run(pack)
    assert files(prefix) == expected


def test_a_line_of_the_journal_without_its_end_is_not_continued(tmp_path):
    path = tmp_path / "journal"
    with Journal(str(path), {}) as journal:
        journal.mark(5, (1, 1))
        journal.mark(6, (2, 2))
    path.write_bytes(path.read_bytes()[:-1])
    with Journal(str(path), {}) as journal:
        assert journal.done == 5
        journal.mark(7, (3, 3))
    with Journal(str(path), {}) as journal:
        assert journal.done == 7


def test_a_finished_pack_is_recognised(prefix):
    pack = pack_of(prefix, resize=64)
    assert finished(pack) is None
    manifest = run(pack)
    assert finished(pack) == manifest
    assert finished(pack_of(prefix, resize=32)) is None
    assert finished(Pack(*(*vars(pack).values(),)[:3], pack.classes[::-1], pack.conversion)) is None
    write_manifest(f"{prefix}.json", manifest)
    prefix.with_suffix(".idx").rename(f"{prefix}.away")
    assert finished(pack) is None
    Path(f"{prefix}.away").rename(prefix.with_suffix(".idx"))
    assert finished(pack) == manifest
    assert finished(pack_of(prefix, f"{PHOTOS}//", resize=64)) == manifest
    write_manifest(f"{prefix}.json", replace(manifest, root=f"{PHOTOS}/"))  # of older versions
    assert finished(pack).shards == manifest.shards
    with open(f"{prefix}.lst", "a") as file:
        file.write("99\t0\tn02123045/chelsea.jpg\n")
    assert finished(pack_of(prefix, resize=64)) is None


def test_only_one_process_can_pack_a_prefix(prefix):
    pack = pack_of(prefix, resize=64)

    def progress(done, *_):
        if done == 3:
            with pytest.raises(InputError, match=r"train\.json\.partial: "):
                run(pack)

    run(pack, progress=progress)
    assert verify(f"{prefix}.rec", 1, quiet) == []


def test_a_file_system_without_locks(prefix, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run(pack_of(prefix, resize=64))
    assert verify(f"{prefix}.rec", 1, quiet) == []


def test_a_full_disk_loses_nothing(prefix, monkeypatch):
    pack = pack_of(prefix, resize=64)
    run(pack)
    expected = files(prefix)
    prefix.with_suffix(".json").unlink()
    sync = RecordWriter.sync

    def full(writer):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "sync", full)
    with pytest.raises(InputError, match=r"train\.rec: No space left on device; "):
        run(pack)
    monkeypatch.setattr(RecordWriter, "sync", sync)
    run(pack)
    assert files(prefix) == expected


@pytest.mark.parametrize(("number", "code"), [(errno.ESTALE, 75), (errno.EMFILE, 2)])
def test_an_unavailable_file_system_rejects_no_image(prefix, monkeypatch, number, code):
    pack = pack_of(prefix, resize=64)
    run(pack)
    expected = files(prefix)
    prefix.with_suffix(".json").unlink()

    def fails(length):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("imagenet_trainer.data.images.decode.check_length", fails)
    with pytest.raises(InputError, match=r"\.jpg: .*; (mount|allow)") as caught:
        run(pack, most_rejected=100)
    assert caught.value.exit_code == code
    monkeypatch.undo()
    run(pack)
    assert files(prefix) == expected


def test_the_number_of_pending_results_is_bounded():
    started = []
    results = in_order(lambda n: started.append(n) or n, iter(range(1000)), 2)
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(started) <= 10 + 24
    results.close()
    assert len(started) <= 10 + 24
