"""Packs of several shards: their order, their layouts, and kills at any moment."""

import os
import subprocess
import sys
import textwrap

import cv2
import numpy as np
import pytest
from conftest import ROOT

from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.lst import read_list
from imagenet_trainer.data.records.manifest import folders_of_classes, name_classes, read_manifest
from imagenet_trainer.data.records.record_file import RecordFile
from imagenet_trainer.data.records.shards import Shards, find_shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.packing.conversion import Conversion
from imagenet_trainer.packing.plan import Pack
from imagenet_trainer.packing.write import EmptyShard, finished, write_pack

LINES = 23


def quiet(*_):
    pass


@pytest.fixture
def prefix(tmp_path):
    """23 small images of 3 classes; numbers 4 and 9 are damaged."""
    random = np.random.default_rng(0)
    lines = []
    for number in range(LINES):
        name = f"class{number % 3}/{number}.png"
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (8 + number, 16, 3), dtype=np.uint8)
        path.write_bytes(b"" if number in (4, 9) else cv2.imencode(".png", pixels)[1].tobytes())
        lines.append(f"{100 - number}\t{number % 3}\t{name}\n")
    (tmp_path / "train.lst").write_text("".join(lines))
    return tmp_path / "train"


def pack_of(prefix, shards=0, shard_bytes=0):
    images = read_list(f"{prefix}.lst")
    classes = name_classes(folders_of_classes([images]))
    conversion = Conversion(encoding=".png", quality=1)
    root = str(prefix.parent / "root")
    return Pack(str(prefix), root, images, classes, conversion, shards, shard_bytes)


def run(pack, threads=2, progress=quiet, log=quiet):
    return write_pack(pack, threads, 2, progress, log)


def files(prefix):
    paths = prefix.parent.glob(f"{prefix.name}*")
    return {path.name: path.read_bytes() for path in sorted(paths) if path.suffix != ".lst"}


def clear(prefix):
    for path in prefix.parent.glob(f"{prefix.name}*"):
        if path.suffix != ".lst":
            path.unlink()


def records(paths):
    with Shards(paths) as shards:
        return [(key, bytes(shards.read(n))) for n, key in enumerate(shards.keys.tolist())]


@pytest.mark.parametrize("layout", [{"shards": 4}, {"shards": 1}, {"shard_bytes": 4000}])
def test_one_order_over_all_shards(prefix, layout):
    run(pack_of(prefix))
    expected = records([f"{prefix}.rec"])
    assert [key for key, _ in expected] == [100 - n for n in range(LINES) if n not in (4, 9)]
    manifest = run(pack_of(prefix, **layout))
    # The previous pack is gone: --data-train train.rec now means the shards.
    paths = find_shards(f"{prefix}.rec")
    assert [os.path.basename(path) for path in paths] == [one.file for one in manifest.shards]
    assert paths[0].endswith(f"train-00000-of-{len(paths):05d}.rec")
    assert len(paths) == layout.get("shards", len(paths))
    assert records(paths) == expected
    images = open_dataset(f"{prefix}.rec")
    assert (len(images), images.has_manifest) == (21, True)
    assert [one.path for one in manifest.rejected] == ["class1/4.png", "class0/9.png"]
    assert manifest.counts == (7, 7, 7)
    assert [one.records for one in manifest.shards] == [len(RecordFile(path)) for path in paths]


def test_shards_have_the_same_number_of_lines(prefix):
    manifest = run(pack_of(prefix, shards=4))
    # Lines 0-4, 5-10, 11-16, 17-22, of which 4 and 9 are damaged.
    assert [one.records for one in manifest.shards] == [4, 5, 6, 6]


def test_shards_stay_below_their_size(prefix):
    pack = pack_of(prefix, shard_bytes=4000)
    manifest = run(pack)
    sizes = [one.bytes for one in manifest.shards]
    assert len(sizes) > 3 and max(sizes) <= 4000
    for number, size in enumerate(sizes[:-1]):
        following = RecordFile(f"{pack.stem(number + 1, len(sizes))}.rec")
        first = [*following.offsets.tolist(), following.size][1]
        assert size + first > 4000
    # A record above the limit gets its own shard.
    assert [one.records for one in run(pack_of(prefix, shard_bytes=1)).shards] == [1] * 21


@pytest.mark.parametrize("layout", [{}, {"shards": 5}, {"shard_bytes": 5000}])
def test_the_bytes_do_not_depend_on_the_threads(prefix, layout):
    packs = []
    for threads in (1, 2, 5):
        run(pack_of(prefix, **layout), threads)
        packs.append(files(prefix))
        clear(prefix)
    assert packs[0] == packs[1] == packs[2]


def test_a_finished_pack_is_recognised(prefix):
    pack = pack_of(prefix, shards=3)
    assert finished(pack) is None
    manifest = run(pack)
    assert finished(pack) == manifest == read_manifest(f"{prefix}.rec")
    assert finished(pack_of(prefix, shards=4)) is None
    assert finished(pack_of(prefix)) is None
    os.truncate(f"{prefix}-00001-of-00003.rec", 100)
    assert finished(pack) is None


def test_another_layout_replaces_the_previous_one(prefix):
    run(pack_of(prefix, shards=3))
    run(pack_of(prefix, shards=2))
    assert sorted(files(prefix)) == [
        "train-00000-of-00002.idx", "train-00000-of-00002.rec",
        "train-00001-of-00002.idx", "train-00001-of-00002.rec", "train.json",
    ]  # fmt: skip
    run(pack_of(prefix))
    assert sorted(files(prefix)) == ["train.idx", "train.json", "train.rec"]


def test_files_of_an_interrupted_layout_are_removed(prefix):
    def stop(done, *_):
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pack_of(prefix, shards=5), progress=stop)
    assert len(files(prefix)) > 5
    messages = []
    run(pack_of(prefix), log=messages.append)
    assert len(messages) == 1 and messages[0].startswith("starts over")
    assert sorted(files(prefix)) == ["train.idx", "train.json", "train.rec"]


@pytest.mark.parametrize("unlisted", ["train.rec", "train-00001-of-00009.rec"])
def test_unlisted_shards_are_refused(prefix, unlisted):
    (prefix.parent / unlisted).touch()
    (prefix.parent / "train-2-of-us.rec").touch()
    with pytest.raises(InputError, match=f"{unlisted}: "):
        run(pack_of(prefix, shards=3))
    (prefix.parent / unlisted).unlink()
    run(pack_of(prefix, shards=3))


def test_a_shard_without_images(prefix):
    with pytest.raises(EmptyShard, match=r"shard 4 of 23 .* class1/4\.png: "):
        run(pack_of(prefix, shards=LINES))


@pytest.mark.parametrize("number", [1, 5, 17, LINES])
@pytest.mark.parametrize("layout", [{}, {"shards": 4}, {"shard_bytes": 4000}])
def test_an_interrupted_pack_resumes(prefix, layout, number):
    pack = pack_of(prefix, **layout)
    run(pack)
    expected = files(prefix)
    clear(prefix)

    def stop(done, *_):
        if done == number:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(pack, progress=stop)
    with pytest.raises(InputError, match=r"train\.rec: "):
        find_shards(f"{prefix}.rec")
    done = []
    run(pack, threads=1, progress=lambda at, *_: done.append(at))
    assert done == list(range(number + 1, LINES + 1))
    assert files(prefix) == expected


# A process for each moment: it kills itself at the n-th fsync, rename or removal of a file. First
# each pack starts from nothing, or over another one, and is finished after the kill; then each
# process continues what the killed one before it has left, until one finishes. The processes are
# forked from one that has no threads, unlike that of the tests.
KILLED = """
    import os, signal, sys
    sys.path[:0] = {here!r}
    import pathlib, test_packing_shards as test
    from imagenet_trainer.packing import write

    write._SECONDS_BETWEEN_MARKS = 0
    prefix = pathlib.Path(sys.argv[1])
    left = [0]

    def deadly(function):
        def call(*words):
            for after in (False, True):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                if not after:
                    result = function(*words)
            return result
        return call

    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, deadly(getattr(os, name)))

    def killed(pack, moment):
        child = os.fork()
        if child == 0:
            left[0] = moment
            test.run(pack, threads=1)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
        return status != 0

    def start(previous):
        test.clear(prefix)
        for name, data in previous.items():
            prefix.with_name(name).write_bytes(data)

    def packed(pack):
        test.run(pack, threads=1)
        return test.files(prefix)

    def kill_at_any_moment(pack, previous, expected, finish_each):
        start(previous)
        kills = 0
        for moment in range(1, 10_000, 7):
            if not killed(pack, moment):
                break
            kills += 1
            if finish_each:
                assert packed(pack) == expected, (pack, moment)
                start(previous)
        assert kills
        assert packed(pack) == expected, pack

    another = packed(test.pack_of(prefix, shards=2))
    for layout in (dict(shards=3), dict(shard_bytes=6000), dict()):
        test.clear(prefix)
        pack = test.pack_of(prefix, **layout)
        expected = packed(pack)
        for previous in ({{}}, another):
            for finish_each in (True, False):
                kill_at_any_moment(pack, previous, expected, finish_each)
"""


def test_a_pack_killed_at_any_moment_resumes(prefix):
    here = [str(ROOT / "tests"), os.path.dirname(__file__)]  # the conftest.py of all tests
    command = [sys.executable, "-c", textwrap.dedent(KILLED.format(here=here)), prefix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
