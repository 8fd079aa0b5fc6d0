"""`benchmark loader --against`: what a child measures, and what is left out."""

import itertools
import os
import sys

import numpy as np
import pytest

from imagenet_trainer.benchmarks import loader_against, other_loaders
from imagenet_trainer.benchmarks.other_loaders import CONTESTANTS, OURS, Contestant, Opened

COUNT = 10  # batches


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Small photographs in the form of every library."""
    original = other_loaders.make_photographs
    monkeypatch.setattr(
        other_loaders, "make_photographs", lambda path, count: original(path, count, 40, 30)
    )
    monkeypatch.setattr(other_loaders, "BATCH", 4)
    monkeypatch.setattr(loader_against, "BATCH", 4)
    other_loaders.write_inputs(str(tmp_path), 4 * COUNT)
    return str(tmp_path)


def measured(name, folder):
    """An epoch, and its resumption with as many threads and with one more."""
    job = {"name": name, "folder": folder, "threads": 1}
    straight = loader_against._epoch({**job, "saved": None})
    again = {**job, "saved": straight["saved"], "middle": straight["middle"]}
    others = loader_against._resume({**again, "threads": 2})
    return straight, loader_against._resume(again), others


def test_inputs_of_all_libraries_hold_the_same_images(folder):
    assert len(os.listdir(os.path.join(folder, "images"))) == 4 * COUNT
    files = [len(names) for _, _, names in os.walk(os.path.join(folder, "folders"))]
    assert sum(files) == 4 * COUNT
    assert {"train.rec", "train.idx", "train-0.tar", "train-3.tar"} <= set(os.listdir(folder))


def test_our_loader_resumes_exactly(folder):
    straight, resumed, others = measured(OURS, folder)
    assert straight["images"] == 4 * COUNT and straight["middle"] == COUNT // 2
    assert len(set(straight["digests"])) == 3
    assert resumed["digests"] == straight["digests"] == others["digests"]
    assert straight["first"] > 0 and straight["cpu"] > 0 and straight["saved"]


@pytest.mark.parametrize("kind", ["forgets", "repeats"])
def test_a_loader_that_saves_nothing_repeats_the_epoch(folder, monkeypatch, kind):
    """It is exact if its order depends on a seed, and not if it is drawn in each process."""
    draws = itertools.count()

    def opened(folder, threads, saved):
        seed = next(draws) if kind == "forgets" else 0
        random = np.random.default_rng(seed)
        batches = ((random.integers(0, 9, (4, 2)), np.arange(4)) for _ in range(COUNT))
        return Opened(batches, lambda: b"")

    monkeypatch.setitem(CONTESTANTS, "fake", Contestant("fake", ("json",), opened))
    straight, resumed, _ = measured("fake", folder)
    assert (resumed["digests"] == straight["digests"]) == (kind == "repeats")


def test_libraries_that_cannot_be_imported_are_left_out_with_the_reason(monkeypatch, capsys):
    fake = CONTESTANTS["spdl"]._replace(modules=("json", "json.no_such_module"))
    monkeypatch.setitem(CONTESTANTS, "spdl", fake)
    assert loader_against._usable(["ffcv", "spdl"]) == []
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ffcv is left out: its last release")
    assert lines[1].startswith("spdl is left out: ModuleNotFoundError")


def test_a_large_result_of_a_child_is_read(tmp_path, monkeypatch):
    script = tmp_path / "child"
    script.write_text(
        f"#!{sys.executable} -S\n"
        "print('ready', flush=True)\n"
        "input()\n"
        "print('{\"saved\": \"' + 200_000 * 'a' + '\"}')\n"  # more than a pipe holds
    )
    script.chmod(0o755)
    monkeypatch.setattr(loader_against.sys, "executable", str(script))
    found = loader_against._in_a_process(OURS, "folder", 1, None)
    assert len(found["saved"]) == 200_000 and found["megabytes"] >= 0
