"""`benchmark loader` and `--json`."""

import contextlib
import json
from types import SimpleNamespace

import numpy as np
from conftest import one_line_failure

from imagenet_trainer import benchmark
from imagenet_trainer.benchmarks import figures, loader, loading
from imagenet_trainer.data.images import jpeg_window


def test_names_of_rows():
    assert figures.named("PNG with axes, median of 5 more") == "png_with_axes_median_of_5_more"
    assert figures.named("--shuffle-window 2048") == "shuffle_window_2048"


def test_the_loader(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loading, "installed_others", lambda: [])
    monkeypatch.setattr(jpeg_window, "enabled", jpeg_window.enabled)  # restored after the test
    monkeypatch.setattr(loader, "_EPOCHS", 2)
    made = loading.make_photographs
    monkeypatch.setattr(  # a sixteenth of the pixels
        loading, "make_photographs",
        lambda folder, count, width=500, height=375, **more: made(
            folder, count, width // 4, height // 4, **more
        ),
    )  # fmt: skip
    path = tmp_path / "numbers.json"
    words = ["loader", "--images", "64", "--rounds", "1", "--lock", "--json", str(path)]
    assert benchmark.main(words) == 0
    numbers = json.loads(path.read_text())
    names = [name + size for name in (*loading.ways(), "imdecode") for size in ("", "_256")]
    large = [f"{name}_1000" for name in loading.ways(loading.LARGE_WAYS)]
    assert set(numbers) == {
        *names, *large, "lock_seconds_per_image", "images_per_second_threads_2",
        "resident_megabytes_first", "resident_megabytes_last",
    }  # fmt: skip
    assert {"whole", "whole_256", "imdecode"} <= set(numbers)
    assert ("region_restart_256" in numbers) == (jpeg_window.LIBRARY is not None)
    assert all(value > 0 for value in numbers.values())
    assert "batches of all ways of this package: the same" in capsys.readouterr().out


def test_batches_of_ways_that_differ_are_reported(monkeypatch):
    def same(**images):
        def open_way(way, *_):
            batch = SimpleNamespace(images=np.uint8([images.get(way.pack, 1)]))
            return contextlib.nullcontext([batch])

        monkeypatch.setattr(loading, "open_way", open_way)
        return loader._same_batches("folder")

    monkeypatch.setattr(loading, "open_checked", lambda rec: contextlib.nullcontext())
    monkeypatch.setattr(loading, "ways", lambda: loading.WAYS)
    assert same() and same(plain=2, restart=2)
    assert not same(restart=2)


def test_a_library_that_cannot_be_imported_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(loading, "installed_others", lambda: ["dali"])
    monkeypatch.setitem(loading.LIBRARIES, "dali", ("json", "json.no_such_module"))
    assert loader._usable_others() == []
    assert "DALI on the CPU is left out: ModuleNotFoundError" in capsys.readouterr().out


def test_a_file_of_numbers_that_cannot_be_written(tmp_path, capsys):
    fails = one_line_failure(benchmark.main, "benchmark", capsys)
    for path in (tmp_path, tmp_path / "missing" / "a.json"):
        assert f"--json {path}: " in fails("numbers", "--json", str(path))
