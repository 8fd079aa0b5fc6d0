"""Objects over HTTP, from a server of this machine that fails on request."""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

import fsspec
from fsspec.asyn import AsyncFileSystem
from helpers.object_server import http_server

from imagenet_trainer.system import (
    block_cache,
    fsspec_client,
    object_storage,
    remote_file,
    storage_faults,
)
from imagenet_trainer.system.object_storage import find_object, list_folder
from imagenet_trainer.system.remote_file import RemoteFile
from imagenet_trainer.system.storage_faults import (
    Abandoned,
    StorageError,
    StorageUnavailable,
    abandon_if,
)

BLOCK = 1000
DATA = np.random.default_rng(0).integers(0, 256, 25_500, np.uint8).tobytes()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(storage_faults, "_PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fsspec_client, "_SILENCE", 0.2)
    monkeypatch.setattr(remote_file, "BLOCK", BLOCK)
    monkeypatch.setattr(block_cache, "_chosen", (str(tmp_path / "cache"), "1MB"))
    with http_server() as (address, state):
        state.objects["a.rec"] = DATA
        yield address, state


def ranges(state):
    """The blocks that were fetched, without the requests for the size."""
    return sorted(begin // BLOCK for _, begin, end in state.requests if end - begin > 1)


def wait_until(condition):
    while not condition():
        time.sleep(0.01)


# --- reading -------------------------------------------------------------------------------------


def test_any_range_is_that_of_the_object_and_blocks_are_fetched_once(server):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    assert file.size == len(DATA)
    random = np.random.default_rng(1)
    for offset, length in random.integers(0, [26_000, 3000], (60, 2)).tolist():
        assert file.read(length, offset) == DATA[offset : offset + length]
    assert RemoteFile(f"{address}/a.rec").read_all() == DATA
    assert ranges(state) == list(range(26))
    assert file.duplicate().read(10, 5) == DATA[5:15]


@pytest.fixture
def no_cache(server, tmp_path, monkeypatch):
    monkeypatch.setattr(block_cache, "_chosen", (str(tmp_path / "none"), "0"))
    yield
    assert not (tmp_path / "none").exists()


def fetched(state):
    return [(begin, end) for _, begin, end in state.requests if end - begin > 1]


def test_without_a_cache_exactly_what_is_needed_is_fetched(server, no_cache):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    assert file.read(2500, 900) == file.read(2500, 900) == DATA[900:3400]
    assert fetched(state) == [(900, 3400)] * 2


def test_without_a_cache_neighbours_are_fetched_together_ahead(server, no_cache):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    begins, ends = np.array([9000, 600, 0, 300]), np.array([9100, 1000, 300, 600])
    file.will_need(begins, ends)
    wait_until(lambda: len(fetched(state)) == 2)
    file.will_need(begins, ends)  # changes nothing
    for begin, end in zip(begins.tolist(), ends.tolist()):
        assert file.read(end - begin, begin) == DATA[begin:end]
    assert sorted(fetched(state)) == [(0, 1000), (9000, 9100)]
    assert file.read(300, 0) == DATA[:300]  # each only once
    assert fetched(state)[2:] == [(0, 300)]


def test_what_is_fetched_ahead_is_bounded_and_forgotten(server, no_cache, monkeypatch):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    monkeypatch.setattr(remote_file._ahead, "_most_bytes", 250)
    file.will_need(np.array([0, 500, 900]), np.array([100, 600, 1000]))
    wait_until(lambda: len(fetched(state)) == 2)
    assert file.read(100, 900) == DATA[900:1000]
    file.close()
    assert not remote_file._ahead._bytes and not remote_file._ahead._spans
    assert file.read(100, 500) == DATA[500:600]
    assert fetched(state)[2:] == [(900, 1000), (500, 600)]


def test_a_range_that_is_needed_again_while_it_is_fetched(server, no_cache):
    # As by a training that continues in the process in which the first attempt failed.
    address, state = server
    file, coming = RemoteFile(f"{address}/a.rec"), threading.Event()
    state.fault = lambda number, path: coming.wait() and ""
    with ThreadPoolExecutor(2) as pool:
        found = []
        for _ in range(2):
            file.will_need(np.array([500]), np.array([600]))
            found.append(pool.submit(file.read, 100, 500))
            wait_until(lambda: not remote_file._ahead._spans)  # it is the reader's
        coming.set()
        assert [one.result() for one in found] == [DATA[500:600]] * 2


def test_blocks_are_fetched_ahead(server):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    file.will_need(np.array([21_000, 500, 2500]), np.array([21_500, 1001, 2600]))
    wait_until(lambda: ranges(state) == [0, 1, 2, 21])
    wait_until(lambda: not remote_file._ahead.fetching)
    assert file.read(3000, 0) == DATA[:3000]
    assert ranges(state) == [0, 1, 2, 21]


def test_threads_that_need_a_block_at_once_fetch_it_once(server):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    state.fails("slow")
    found = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(file.read(100, n) == DATA[n : n + 100]))
        for n in range(8)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [True] * 8 and ranges(state) == [0]


def test_a_small_cache_gives_the_same_bytes_and_never_grows_beyond_its_size(
    server, tmp_path, monkeypatch
):
    address, state = server
    monkeypatch.setattr(block_cache, "_chosen", (str(tmp_path / "small"), "4KB"))
    file = RemoteFile(f"{address}/a.rec")
    for _ in range(2):
        state.requests.clear()
        for number in np.random.default_rng(2).permutation(50).tolist():
            file.will_need(*np.array([[500 * number], [500 * number + 500]]))
            assert file.read(500, 500 * number) == DATA[500 * number :][:500]
            blocks = (tmp_path / "small").glob("*.block*")
            assert sum(one.stat().st_size for one in blocks) <= 4000
    # All but the four blocks, which stay in the cache.
    assert sum(end - begin for begin, end in fetched(state)) == 21_000


def test_blocks_for_which_others_leave_no_room_are_not_fetched(server, tmp_path, monkeypatch):
    address, state = server
    monkeypatch.setattr(block_cache, "_chosen", (str(tmp_path / "small"), "2KB"))
    file = RemoteFile(f"{address}/a.rec")
    state.fault = lambda number, path: "slow"  # until all have asked for room
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: file.read(10, number * BLOCK), range(8)))
    assert found == [DATA[number * BLOCK :][:10] for number in range(8)]
    sizes = [end - begin for begin, end in fetched(state)]
    assert sorted(sizes) == [10] * 6 + [BLOCK] * 2


def test_an_object_without_bytes(server):
    address, state = server
    state.objects["empty"] = b""
    assert RemoteFile(f"{address}/empty").read_all() == b""


def test_a_forked_process_has_its_own_connections(server):
    address, _ = server
    file = RemoteFile(f"{address}/a.rec")
    assert file.read(10, 0) == DATA[:10]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(False)
    child = context.Process(target=lambda: sender.send_bytes(file.read(3000, 5000)))
    child.start()
    assert file.read(2000, 9000) == DATA[9000:11_000]
    assert receiver.recv_bytes() == DATA[5000:8000]
    child.join()
    assert child.exitcode == 0
    assert file.read(2000, 12_000) == DATA[12_000:14_000]


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "truncated", "silent"])
def test_a_fault_that_passes_changes_nothing(server, fault):
    address, state = server
    state.fails(fault)  # while the size is asked
    file = RemoteFile(f"{address}/a.rec")
    state.fails(fault, fault)
    assert file.read(1500, 100) == DATA[100:1600]


@pytest.mark.parametrize(
    "fault, reason",
    [("500", "500, message"), ("reset", ""), ("truncated", ""), ("silent", "no answer in time")],
)
def test_a_fault_that_remains_is_one_line(server, fault, reason):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    state.fault = lambda number, path: fault
    with pytest.raises(StorageUnavailable, match=r"tried 4 times; check the network") as caught:
        file.read(100, 0)
    assert str(caught.value).startswith(f"{address}/a.rec: cannot be read (") and reason in str(
        caught.value
    )
    state.fails()
    assert file.read(100, 0) == DATA[:100]


def test_all_tries_together_are_bounded(server, monkeypatch):
    """Also where the library of a storage tries again itself."""
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    monkeypatch.setattr(storage_faults, "_PAUSES", (0.01,) * 1000)
    monkeypatch.setattr(storage_faults, "_LONGEST", 0.5)
    state.fault = lambda number, path: "silent"
    with pytest.raises(StorageError, match=r"\(no answer in time\), tried [1-9] times"):
        file.read(100, 0)
    monkeypatch.setattr(fsspec_client, "_SILENCE", 60.0)
    with pytest.raises(StorageError, match=r"\(no answer in time\), tried once"):
        file.read(100, 0)


def test_no_permission_is_not_tried_again(server):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    asked = state.asked
    state.fails("403", "403")
    with pytest.raises(StorageError, match=r"a.rec: no permission \(403.*check the credentials"):
        file.read(100, 0)
    assert state.asked == asked + 1


def test_an_object_that_changes_or_vanishes_while_it_is_read(server, monkeypatch):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    assert file.read(100, 0) == DATA[:100]
    state.objects["a.rec"] = DATA[::-1]
    with pytest.raises(StorageError, match=r"a.rec: was replaced while it was read; run the same"):
        file.read(100, 5000)
    monkeypatch.setattr(object_storage, "_FRESH", 0.0)
    # Opened again, no block of the old object is used.
    assert RemoteFile(f"{address}/a.rec").read(100, 0) == DATA[::-1][:100]
    del state.objects["a.rec"]
    with pytest.raises(StorageError, match=r"a.rec: is gone while it was read"):
        file.read(100, 7000)
    assert find_object(f"{address}/a.rec") is None
    with pytest.raises(StorageError, match=r"a.rec: no such object; check the address"):
        RemoteFile(f"{address}/a.rec")


def test_a_server_without_ranges_is_refused_before_it_sends_the_object(server):
    address, state = server
    state.has_ranges = False
    with pytest.raises(StorageError, match="its server cannot send parts of a file"):
        RemoteFile(f"{address}/a.rec")


def test_waiting_ends_when_the_thread_is_not_needed_any_more(server):
    address, state = server
    file = RemoteFile(f"{address}/a.rec")
    state.fault = lambda number, path: "silent"
    stop, ended = threading.Event(), []

    def read():
        with abandon_if(stop.is_set):
            try:
                file.read(100, 0)
            except Abandoned:
                ended.append(True)

    threads = [threading.Thread(target=read) for _ in range(2)]  # one of them waits for the other
    for one in threads:
        one.start()
    wait_until(lambda: state.asked > 1)
    stop.set()
    for one in threads:
        one.join()
    assert ended == [True, True]
    state.fails()
    assert file.read(100, 0) == DATA[:100]


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, message",
    [
        ("https://h/a.rec?X-Amz-Signature=secret", "https://h/a.rec: what follows the ? may be"),
        ("https://me:secret@h/a.rec", "https://h/a.rec: its password is not stored"),
        ("nothing://h/a.rec", "nothing://: is no storage that can be read"),
        ("http://127.0.0.1:1/a.rec", "http://127.0.0.1:1/a.rec: cannot be read (Cannot connect"),
    ],
)
def test_addresses_that_cannot_be_read(server, url, message):
    with pytest.raises(StorageError) as caught:
        RemoteFile(url)
    assert str(caught.value).startswith(message) and "secret" not in str(caught.value)


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    def missing(*words, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    monkeypatch.setattr(object_storage, "_state", object_storage._State())
    with pytest.raises(StorageError, match=r"gs://: needs .*Install s3fs.*'.\[storage\]'"):
        find_object("gs://bucket/a.rec")
    with pytest.raises(StorageError, match=r"az://: needs .*; install it with pip"):
        find_object("az://bucket/a.rec")


def test_signatures_of_redirects_are_not_shown():
    error = OSError("404, url='https://cdn/x?X-Amz-Signature=secret&b=1' of http://h/a?c=secret")
    assert storage_faults._reason(error) == "404, url='https://cdn/x?...' of http://h/a?..."


def test_folders_are_listed_by_the_links_of_their_page(server):
    address, state = server
    state.objects.update({"b.rec": b"", "a.json": b""})
    assert list_folder(address) == [f"{address}/{n}" for n in ("a.json", "a.rec", "b.rec")]
    state.has_list = False
    assert list_folder(f"{address}/none") == list_folder(address) == []


def test_google_storage_and_its_faults(server, no_cache, monkeypatch):
    """Each try of ours is one of gcsfs, which has retries without an option."""
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # read by the import
    pytest.importorskip("gcsfs")
    address, state = server
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    monkeypatch.setattr(object_storage, "_state", object_storage._State())
    file = RemoteFile("gs://b/a.rec")
    state.fails("503", "429", "reset")
    asked = state.asked
    assert file.read(1000, 500) == DATA[500:1500]
    assert state.asked == asked + 4
    state.fails("403")
    with pytest.raises(StorageError, match=r"gs://b/a.rec: no permission \(Forbidden"):
        file.read(100, 0)
    state.fails(*["503"] * 4)
    with pytest.raises(StorageError, match=r"gs://b/a.rec: cannot be read \(.*, tried 4 times"):
        file.read(100, 0)
    assert state.asked == asked + 9
    del state.objects["a.rec"]
    with pytest.raises(StorageError, match=r"gs://b/a.rec: is gone while it was read"):
        file.read(100, 0)


class AsynchronousMemory(AsyncFileSystem):
    """fsspec's file system in memory, with the interface of those of gs:// and others."""

    protocol = "slow"

    async def _info(self, path, **options):
        return fsspec.filesystem("memory").info(path)

    async def _ls(self, path, detail=True, **options):
        return fsspec.filesystem("memory").ls(path, detail=detail)

    async def _cat_file(self, path, start=None, end=None, **options):
        return fsspec.filesystem("memory").cat_file(path, start, end)


@pytest.mark.parametrize("protocol", ["memory", "slow"])
def test_other_file_systems_of_fsspec(server, monkeypatch, protocol):
    fsspec.register_implementation("slow", AsynchronousMemory, clobber=True)
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a.rec", DATA)
    file = RemoteFile(f"{protocol}://bucket/a.rec")
    assert file.read_all() == DATA
    assert list_folder(f"{protocol}://bucket") == [f"{protocol}://bucket/a.rec"]
    assert list_folder(f"{protocol}://none") == []
    assert find_object(f"{protocol}://bucket") is None  # a folder
    assert find_object(f"{protocol}://bucket/none") is None
    monkeypatch.setattr(object_storage, "_FRESH", 0.0)
    block_cache.use_cache(block_cache._chosen[0], "0")
    memory.pipe("/bucket/a.rec", DATA[::-1])
    with pytest.raises(StorageError, match="was replaced"):
        file.read(10, 0)
    memory.rm("/bucket/a.rec")
    with pytest.raises(StorageError, match="is gone"):
        file.read(10, 0)
