"""Shards on S3 and on an HTTP server give what the same shards give from this machine."""

import multiprocessing
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

from helpers.loading import no_thread_is_left  # noqa: F401
from helpers.object_server import http_server
from helpers.s3 import s3_server

from imagenet_trainer import data
from imagenet_trainer.config import AugmentSettings
from imagenet_trainer.data.augment import TrainTransform
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.loader import training_batches
from imagenet_trainer.data.order import Order
from imagenet_trainer.data.parts import labels_of
from imagenet_trainer.data.records.headers import read_labels, read_summary
from imagenet_trainer.data.records.shards import find_shards
from imagenet_trainer.errors import InputError
from imagenet_trainer.explore.sources import open_source
from imagenet_trainer.packing import im2rec
from imagenet_trainer.system import (
    block_cache,
    fsspec_client,
    object_storage,
    remote_file,
    storage_faults,
)
from imagenet_trainer.system.storage_faults import StorageError

SHAPE = (3, 16, 18)


@pytest.fixture(scope="module")
def pack(packed, tmp_path_factory):
    """A folder with the set in one shard, train.rec, and in three, many-0000N-of-00003.rec."""
    folder = tmp_path_factory.mktemp("pack")
    for name in ("train.rec", "train.idx", "train.json", "train.lst"):
        shutil.copy(packed / name, folder / name)
    shutil.copy(packed / "train.lst", folder / "many.lst")
    words = [str(folder / "many"), str(packed / "pictures" / "train"), "--shards", "3"]
    assert im2rec.main([*words, "--encoding", ".png"]) == 0
    return folder


@pytest.fixture(scope="module")
def s3(pack):
    with s3_server() as server:
        server.upload(pack, *os.listdir(pack))
        yield server


@pytest.fixture
def http(pack):
    with http_server() as (address, state):
        state.objects = {name: (pack / name).read_bytes() for name in os.listdir(pack)}
        yield address, state


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache; the blocks are small, so that records lie in several of them."""
    monkeypatch.setattr(remote_file, "BLOCK", 1 << 13)
    monkeypatch.setattr(block_cache, "_chosen", (str(tmp_path / "cache"), "10MB"))
    monkeypatch.setattr(storage_faults, "_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(object_storage, "_state", object_storage._State())
    return tmp_path / "cache"


def epochs(path, **options):
    """All batches of two epochs: images and labels, one after the other."""
    options = {"batch_size": 7, "image_shape": SHAPE, "seed": 3, "threads": 2, **options}
    with data.Loader(str(path), **options) as loader:
        found = [batch for _ in range(2) for batch in loader]
    return [np.concatenate(arrays) for arrays in zip(*found)]


def assert_equal(ours, theirs):
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one, other)


# --- equal batches -------------------------------------------------------------------------------


def test_batches_from_s3_are_those_from_this_machine(pack, s3):
    assert_equal(epochs("s3://data/many.rec"), epochs(pack / "many.rec"))
    expected = epochs(pack / "many.rec", shuffle_window=16)
    assert_equal(epochs("s3://data/many.rec", shuffle_window=16), expected)


def test_batches_from_s3_with_faults(pack, s3, monkeypatch):
    monkeypatch.setattr(storage_faults, "_PAUSES", (0.01,) * 20)
    made = []

    def fault(number):
        made.append(("", "500", "truncated", "", "reset")[number % 5])
        return made[-1]

    monkeypatch.setattr(s3, "fault", fault)
    assert_equal(epochs("s3://data/train.rec"), epochs(pack / "train.rec"))
    assert min(made.count(one) for one in ("500", "truncated", "reset")) > 2


def test_batches_over_http_with_faults_and_a_second_run_from_the_cache(pack, http, monkeypatch):
    address, state = http
    monkeypatch.setattr(storage_faults, "_PAUSES", (0.01,) * 20)
    faults = ("", "500", "", "truncated", "reset")
    state.fault = lambda number, path: faults[number % 5]
    assert_equal(epochs(f"{address}/train.rec"), epochs(pack / "train.rec"))
    fetched = [one for one in state.requests if one[2] - one[1] > 1]
    # Truncated answers are in the list too; each block that arrived was fetched once.
    sizes = {name: len(content) for name, content in state.objects.items()}
    blocks = sum(-(-sizes[f"train.{ending}"] // 8192) for ending in ("rec", "idx", "json"))
    assert len(set(fetched)) == blocks
    state.fault = lambda number, path: ""
    before = len(fetched)
    assert_equal(epochs(f"{address}/train.rec"), epochs(pack / "train.rec"))
    assert len([one for one in state.requests if one[2] - one[1] > 1]) == before


def fetched(state, name="train.rec"):
    return [end - begin for one, begin, end in state.requests if one == name and end - begin > 1]


@pytest.mark.parametrize("size", ["0", "25KB"])
@pytest.mark.parametrize("window", [0, 16])
def test_a_cache_that_is_too_small_or_none_changes_no_batch(pack, http, cache, size, window):
    address, state = http
    expected = epochs(pack / "train.rec", shuffle_window=window)
    block_cache.use_cache(str(cache), size)
    assert_equal(epochs(f"{address}/train.rec", shuffle_window=window), expected)
    assert sum(one.stat().st_size for one in cache.glob("*.block")) <= 25_000
    # Two epochs, and what the threads fetched ahead of a third one.
    whole = len(state.objects["train.rec"])
    assert sum(fetched(state)) <= 3 * whole


def test_an_evaluation_without_a_cache_fetches_the_set_in_few_requests(pack, http, cache):
    address, state = http
    block_cache.use_cache(str(cache), "0")
    # A second thread may read a record before the first one has announced the batch.
    with data.EvaluationLoader(f"{address}/train.rec", 20, SHAPE, threads=1) as loader:
        assert sum(len(batch[1]) for batch in loader) == 60
    opening = sum(fetched(state)[:2])  # the first and the last record
    assert sum(fetched(state)) - opening == len(state.objects["train.rec"])
    assert len(fetched(state)) < 30


def _read(path, sender):
    sender.send([label.tolist() for label in epochs(path)])


def test_processes_share_one_cache(pack, http, cache):
    block_cache.use_cache(str(cache), "60KB")  # they remove blocks of each other
    context = multiprocessing.get_context("fork")
    pairs = [context.Pipe(False) for _ in range(2)]
    children = [
        context.Process(target=_read, args=(f"{http[0]}/train.rec", sender)) for _, sender in pairs
    ]
    for one in children:
        one.start()
    found = [receiver.recv() for receiver, _ in pairs]
    for one in children:
        one.join()
    expected = [array.tolist() for array in epochs(pack / "train.rec")]
    assert found == [expected, expected] and [one.exitcode for one in children] == [0, 0]


def test_a_dataset_is_shared_with_a_forked_process(pack, s3):
    with data.RecordDataset("s3://data/train.rec") as ours:
        local = data.RecordDataset(pack / "train.rec")
        assert ours[0] == local[0]
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(False)
        child = context.Process(target=lambda: sender.send([ours[n] for n in range(50, 60)]))
        child.start()
        assert [ours[n] for n in range(10)] == [local[n] for n in range(10)]
        assert receiver.recv() == [local[n] for n in range(50, 60)]
        child.join()
        assert child.exitcode == 0


# --- opening -------------------------------------------------------------------------------------


def test_names_of_shards_on_s3(s3):
    expected = [f"s3://data/many-0000{n}-of-00003.rec" for n in range(3)]
    for value in ("s3://data/many-*.rec", "s3://data/many-0000[012]-of-00003.rec"):
        assert find_shards(value) == expected
    assert find_shards("s3://data/train.rec, s3://data/many.rec")[1:] == expected


def test_names_of_shards_over_http(http):
    address, state = http
    expected = [f"{address}/many-0000{n}-of-00003.rec" for n in range(3)]
    assert find_shards(f"{address}/many-*.rec") == expected
    assert find_shards(f"{address}/many.rec") == expected
    state.has_list = False
    assert find_shards(f"{address}/many.rec") == expected  # from the manifest
    with pytest.raises(InputError, match="no object matches; check the address, and give an HTTP"):
        find_shards(f"{address}/many-*.rec")


def test_a_folder_of_shards(pack, s3):
    for number in range(3):
        name = f"many-0000{number}-of-00003.rec"
        s3.system.pipe_file(f"data/folder/{name}", (pack / name).read_bytes())
    assert len(find_shards("s3://data/folder")) == len(find_shards("s3://data/folder/")) == 3


def test_the_dataset_is_the_same(pack, s3):
    local, remote = open_dataset(str(pack / "many.rec")), open_dataset("s3://data/many.rec")
    assert remote.fingerprint == local.fingerprint and remote.has_manifest
    assert remote.classes == local.classes and remote.note == local.note == ""
    s3.remove("many.json")
    shutil.copytree(pack, pack.parent / "bare", dirs_exist_ok=True)
    os.unlink(pack.parent / "bare" / "many.json")
    try:
        local = open_dataset(str(pack.parent / "bare" / "many.rec"))
        object_storage._state.found.clear()  # of half a minute
        assert open_dataset("s3://data/many.rec").fingerprint == local.fingerprint
    finally:
        s3.upload(pack, "many.json")


def test_explore_reads_shards(pack, s3):
    local, remote = open_source(str(pack / "train.rec")), open_source("s3://data/train.rec")
    assert len(remote) == len(local) and remote.info(7) == local.info(7)
    with pytest.raises(InputError, match="only shards are read from there"):
        open_source("s3://data/train.lst", "s3://data/images")


def test_a_storage_that_keeps_failing_is_one_line(s3, monkeypatch):
    monkeypatch.setattr(s3, "fault", lambda number: "500")
    with pytest.raises(StorageError, match=r"s3://data/train.rec: cannot be read .*tried 4 times"):
        open_dataset("s3://data/train.rec")


@pytest.mark.parametrize(
    "path, message",
    [
        ("s3://data/none.rec", "s3://data/none.rec: no such object"),
        ("s3://nowhere/train.rec", "s3://nowhere/train.rec: no such object"),
        ("s3://data/none-*.rec", r"s3://data/none-\*.rec: no object matches"),
        ("s3://data/lonely.rec", "its index s3://data/lonely.idx is missing; upload it"),
    ],
)
def test_what_is_missing_is_one_line(pack, s3, path, message):
    s3.system.pipe_file("data/lonely.rec", (pack / "train.rec").read_bytes())
    with pytest.raises(InputError, match=message):
        open_dataset(path)


def test_a_shard_of_another_pack_is_refused_as_on_this_machine(http):
    address, state = http
    state.objects["train.rec"] = state.objects["train.rec"][:-100]
    with pytest.raises(InputError, match=r"/train.rec: record 59 .* it ends beyond the next"):
        open_dataset(f"{address}/train.rec")


def test_bytes_that_changed_in_the_storage_are_found_by_their_checksum(http):
    address, state = http
    content = bytearray(state.objects["train.rec"])
    content[len(content) // 2] ^= 1
    state.objects["train.rec"] = bytes(content)
    with pytest.raises(InputError, match=r"/train.rec: record .* upload the shard again"):
        epochs(f"{address}/train.rec")


def test_a_damaged_block_of_the_cache_is_fetched_again(http, cache):
    expected = epochs(f"{http[0]}/train.rec", batch_size=30)
    for path in cache.glob("*.block"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    for ending in ("idx", "json"):  # have no checksums
        remote_file.RemoteFile(f"{http[0]}/train.{ending}").read_again(1 << 20, 0)
    assert_equal(epochs(f"{http[0]}/train.rec", batch_size=30), expected)


@pytest.mark.parametrize(
    "words", [["s3://data/new", "images"], ["--verify", "s3://data/train"]], ids=["pack", "verify"]
)
def test_im2rec_works_on_this_machine_only(words, capsys):
    assert im2rec.main(words) == 2
    assert "is on an object storage; pack and check on this machine" in capsys.readouterr().err


# --- labels --------------------------------------------------------------------------------------


def test_labels_are_those_of_the_list_and_no_record_is_read(pack, http, capsys):
    address, state = http
    for name in ("train", "many"):
        local, remote = (
            open_dataset(str(pack / f"{name}.rec")),
            open_dataset(f"{address}/{name}.rec"),
        )
        with local.shards, remote.shards:
            state.requests.clear()
            expected = labels_of(local.shards)
            np.testing.assert_array_equal(labels_of(remote.shards), expected)
            part = remote.shards.part(np.arange(7, 20))
            np.testing.assert_array_equal(labels_of(part), expected[7:20])
            assert {one for one, _, _ in state.requests} == {f"{name}.lst"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("change", ["none", "other", "reviewed"])
def test_labels_are_read_from_the_records_without_their_list(pack, http, capsys, change):
    address, state = http
    if change == "none":
        del state.objects["train.lst"]
    elif change == "other":
        state.objects["train.lst"] = state.objects["train.lst"].replace(b"\t1.000", b"\t2.000")
    else:
        manifest = state.objects["train.json"]
        state.objects["train.json"] = manifest.replace(
            b'"settings": {', b'"settings": {"reviewed": 1,'
        )
    with open_dataset(f"{address}/train.rec").shards as shards:
        expected = labels_of(open_dataset(str(pack / "train.rec")).shards)
        np.testing.assert_array_equal(labels_of(shards), expected)
    line = f"storage: {address}/train.rec: to know the labels, the headers of 60 records are read"
    assert capsys.readouterr().err.startswith(line)


def test_several_labels_are_those_of_the_list(packed, http, tmp_path):
    address, state = http
    lines = (packed / "train.lst").read_text().splitlines()
    fields = [line.split("\t") for line in lines]
    (tmp_path / "two.lst").write_text(
        "".join(
            f"{key}\t{label}\t{n % 5 / 3}\t{path}\n" for n, (key, label, path) in enumerate(fields)
        )
    )
    words = [str(tmp_path / "two"), str(packed / "pictures" / "train"), "--pack-label"]
    assert im2rec.main([*words, "--encoding", ".png"]) == 0
    for one in tmp_path.glob("two.*"):
        state.objects[one.name] = one.read_bytes()
    places = (str(tmp_path), address)
    for index in (0, 1):
        local, remote = (
            open_dataset(f"{one}/two.rec", any_labels=True, label_index=index) for one in places
        )
        np.testing.assert_array_equal(*(read_labels(one.shards, index) for one in (local, remote)))
    for ours, theirs in zip(read_summary(remote.shards), read_summary(local.shards)):
        np.testing.assert_array_equal(ours, theirs)
    assert len(fetched(state, "two.rec")) < len(state.objects["two.rec"]) / 8192  # some blocks


# --- faults --------------------------------------------------------------------------------------


def test_a_storage_that_fails_is_no_bad_record(pack, http):
    """--on-bad-record skip must not replace images because the network fails."""
    address, state = http
    dataset = open_dataset(f"{address}/train.rec")
    with dataset.shards as shards:
        state.fault = lambda number, path: "500"
        order, transform = Order(3, 60, 7), TrainTransform(AugmentSettings(), SHAPE, 3)
        options = {"on_bad": "skip"}
        with training_batches(shards, order, transform, 3, range(8), **options) as batches:
            with pytest.raises(StorageError, match=r"cannot be read \(500.*tried 4 times"):
                list(batches)


def test_an_object_on_s3_that_is_replaced_by_a_shorter_one(pack, s3, cache):
    block_cache.use_cache(str(cache), "0")
    s3.system.pipe_file("data/changing.rec", (pack / "train.rec").read_bytes())
    file = remote_file.RemoteFile("s3://data/changing.rec")
    s3.system.pipe_file("data/changing.rec", b"short")
    with pytest.raises(StorageError, match=r"changing.rec: was replaced while it was read"):
        file.read(100, file.size - 100)


def test_a_loader_that_waits_for_a_silent_server_can_be_closed(http, monkeypatch):
    address, state = http
    monkeypatch.setattr(fsspec_client, "_SILENCE", 60.0)
    loader = data.Loader(f"{address}/train.rec", 7, SHAPE, seed=3, threads=2)
    state.fault = lambda number, path: "silent"
    monkeypatch.setattr(storage_faults, "_PAUSES", (60.0,))
    loader._running()
    while state.asked < 6:
        pass
    loader.close()  # without waiting for a pause or an answer; `no_thread_is_left` looks
