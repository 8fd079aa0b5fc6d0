import multiprocessing
import os
import threading

import pytest

from imagenet_trainer.errors import ArgumentError
from imagenet_trainer.system import block_cache
from imagenet_trainer.system.block_cache import BlockCache, current_cache, parsed_size, use_cache

SIZE = 1000  # bytes of a block


def name(number):
    return f"{number:032x}-{number}.block"


def block(number):
    return bytes([number % 256]) * SIZE


def blocks_in(folder):
    return sorted(int(one.partition("-")[0], 16) for one in os.listdir(folder) if "-" in one)


def kept(folder):
    """Bytes of all blocks, also of those that are being written."""
    total = 0
    for entry in os.scandir(folder):
        try:
            total += entry.stat().st_size * (".block" in entry.name)
        except FileNotFoundError:
            continue
    return total


def age(folder, number, seconds):
    os.utime(folder / name(number), (1e9 - seconds, 1e9 - seconds))


def test_what_was_written_is_read_in_parts(tmp_path):
    cache = BlockCache(str(tmp_path / "new" / "folder"), 10 * SIZE)
    assert cache.read(name(3), SIZE, 0, 10) is None and not cache.has(name(3))
    data = bytes(range(250)) * 4
    cache.write(name(3), data)
    assert cache.has(name(3)) and cache.read(name(3), SIZE, 100, 300) == data[100:300]
    assert BlockCache(cache.folder, 1).read(name(3), SIZE, 0, SIZE) == data


def test_a_block_of_another_length_is_none(tmp_path):
    cache = BlockCache(str(tmp_path), 10 * SIZE)
    cache.write(name(3), block(3))
    os.truncate(tmp_path / name(3), 999)
    assert cache.read(name(3), SIZE, 0, 10) is None
    cache.write(name(3), block(3))
    assert cache.read(name(3), SIZE, 0, SIZE) == block(3)


def test_the_blocks_unused_for_longest_make_room(tmp_path):
    cache = BlockCache(str(tmp_path), 5 * SIZE)
    (tmp_path / "mine.txt").write_text("of the user")
    for number in range(5):
        cache.write(name(number), block(number))
        age(tmp_path, number, 100 - number)
    assert cache.read(name(0), SIZE, 0, 1)  # which gives it a new time
    cache.write(name(5), block(5))
    assert blocks_in(tmp_path) == [0, 1, 2, 3, 4]  # no room yet
    assert cache.has_room(SIZE, lambda: {f"{1:032x}"})
    cache.write(name(5), block(5))
    assert blocks_in(tmp_path) == [0, 1, 3, 4, 5]
    assert (tmp_path / "mine.txt").exists()


def test_blocks_that_somebody_may_need_make_no_room(tmp_path):
    cache = BlockCache(str(tmp_path), 4 * SIZE)
    for number in range(4):
        cache.write(name(number), block(number))
    age(tmp_path, 2, 100)
    assert not cache.has_room(SIZE, lambda: {f"{2:032x}"})
    assert not cache.has_room(SIZE, set)  # is not looked at again for a while
    assert BlockCache(str(tmp_path), 4 * SIZE).has_room(SIZE, set)
    assert blocks_in(tmp_path) == [0, 1, 3]
    assert not BlockCache(str(tmp_path), 2 * SIZE).has_room(SIZE, set)
    assert len(blocks_in(tmp_path)) == 2  # a smaller size holds for all


def test_a_block_that_is_removed_while_it_is_read_is_complete(tmp_path, monkeypatch):
    cache = BlockCache(str(tmp_path), 5 * SIZE)
    cache.write(name(1), block(1))
    fstat = os.fstat

    def remove_and_stat(descriptor):
        (tmp_path / name(1)).unlink()
        return fstat(descriptor)

    monkeypatch.setattr(os, "fstat", remove_and_stat)
    assert cache.read(name(1), SIZE, 0, SIZE) == block(1)
    monkeypatch.undo()
    assert cache.read(name(1), SIZE, 0, SIZE) is None


def _write_many(folder, first, size):
    cache = BlockCache(folder, size)
    for number in range(first, first + 30):
        if cache.has_room(SIZE, set):
            cache.write(name(number), block(number))
        data = cache.read(name(number - number % 7), SIZE, 0, SIZE)
        assert data in (None, block(number - number % 7))


def test_processes_and_threads_share_a_folder_that_never_grows_beyond_its_size(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(block_cache, "_IN_USE", -1.0)  # all blocks may go
    context = multiprocessing.get_context("fork")
    words = [(str(tmp_path), first, 10 * SIZE) for first in (0, 15, 1000)]
    others = [context.Process(target=_write_many, args=one) for one in words]
    threads = [threading.Thread(target=_write_many, args=(str(tmp_path), n, 10 * SIZE))
               for n in (2000, 3000)]  # fmt: skip
    most = 0
    for one in (*others, *threads):
        one.start()
    while any(one.is_alive() for one in (*others, *threads)):
        most = max(most, kept(tmp_path))
    for one in (*others, *threads):
        one.join()
    assert [one.exitcode for one in others] == [0, 0, 0]
    assert 5 * SIZE < kept(tmp_path) <= 10 * SIZE
    assert most <= 10 * SIZE
    for number in blocks_in(tmp_path):
        assert (tmp_path / name(number)).read_bytes() == block(number)


def test_what_a_crash_left_is_counted_and_removed(tmp_path):
    BlockCache(str(tmp_path), 5 * SIZE).write(name(1), block(1))
    (tmp_path / f"{name(2)}.tmp").write_bytes(block(2))
    (tmp_path / "blocks.size").write_text("-")
    cache = BlockCache(str(tmp_path), 2 * SIZE)
    cache.write(name(3), block(3))
    assert blocks_in(tmp_path) == [1, 3]
    cache.write(name(4), block(4))
    assert kept(tmp_path) <= 2 * SIZE


def test_a_process_that_keeps_the_lock_does_not_stop_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(block_cache, "_WAIT", 0.05)
    one, other = BlockCache(str(tmp_path), 5 * SIZE), BlockCache(str(tmp_path), 5 * SIZE)
    with one._locked():
        other.write(name(1), block(1))
    assert "another process keeps it locked" in capsys.readouterr().err
    one.write(name(2), block(2))
    assert blocks_in(tmp_path) == [2]


def test_blocks_that_do_not_fit_are_not_kept(tmp_path):
    BlockCache(str(tmp_path), SIZE - 1).write(name(1), block(1))
    BlockCache(str(tmp_path), 0).write(name(1), block(1))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path, capsys):
    (tmp_path / "file").touch()
    cache = BlockCache(str(tmp_path / "file"), 5 * SIZE)
    cache.write(name(1), block(1))
    cache.write(name(2), block(2))
    assert not cache.is_writable
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "--cache-dir" in lines[0] and str(tmp_path) in lines[0]


def test_a_full_disk_leaves_no_part_of_a_block(tmp_path, capsys, monkeypatch):
    cache = BlockCache(str(tmp_path), 5 * SIZE)
    cache.write(name(1), block(1))

    def full(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.write(name(2), block(2))
    assert blocks_in(tmp_path) == [1] and kept(tmp_path) == SIZE
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert cache.read(name(1), SIZE, 0, SIZE) == block(1)  # is still used


@pytest.mark.parametrize(
    "text, size", [("0", 0), ("500MB", 500_000_000), ("1.5 g", 1_500_000_000), ("2TiB", 2 << 40)]
)
def test_sizes(text, size):
    assert parsed_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "5 apples"])
def test_what_is_no_size(text):
    with pytest.raises(ArgumentError, match="must be a size such as 50GB"):
        parsed_size(text)


def test_the_cache_of_flags_variables_and_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(block_cache, "_chosen", ("", ""))
    monkeypatch.setattr(block_cache, "_caches", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert current_cache().folder == str(tmp_path / "imagenet-trainer" / "blocks")
    assert current_cache().size == 50 * 10**9 and current_cache() is current_cache()
    monkeypatch.setenv("IMAGENET_TRAINER_CACHE_DIR", "variable")
    monkeypatch.setenv("IMAGENET_TRAINER_CACHE_SIZE", "3GB")
    assert (current_cache().folder, current_cache().size) == ("variable", 3 * 10**9)
    use_cache("flag", "2GB")
    assert (current_cache().folder, current_cache().size) == ("flag", 2 * 10**9)
    with pytest.raises(ArgumentError):
        use_cache("flag", "large")
    assert current_cache().folder == "flag"
