import io

import numpy as np
import pytest
from PIL import Image

from imagenet_trainer.explore.sources import open_source
from imagenet_trainer.explore.survey import measure_channels, printable, survey


def write(path, width, height, level=100, kind=None, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (level, level, level)).convert(mode).save(path, kind)


@pytest.fixture
def tree(tmp_path):
    """Two classes; sizes and grey levels follow from the names."""
    for number in range(200):
        name = f"{'even' if number % 2 == 0 else 'odd'}/{number:03d}.png"
        write(tmp_path / name, 5 + number % 7, 3 + number % 5, number)
    return tmp_path


def look(source, threads=2):
    calls = []
    found = survey(source, threads, calls.append)
    assert sum(calls) == len(source)
    return found


def test_columns(tree):
    found = look(open_source(str(tree)))
    numbers = [int(name.split("/")[1][:3]) for name in found.names]
    assert sorted(numbers) == list(range(200))
    assert found.labels.tolist() == [number % 2 for number in numbers]
    assert found.widths.tolist() == [5 + number % 7 for number in numbers]
    assert found.heights.tolist() == [3 + number % 5 for number in numbers]
    assert found.sizes.tolist() == [(tree / name).stat().st_size for name in found.names]
    assert found.kinds == ["PNG RGB"] * 200
    assert found.problems == {}
    assert found.good.all()


def test_threads_change_nothing(tree):
    source = open_source(str(tree))
    one, many = look(source, 1), look(source, 5)
    assert one.names == many.names and np.array_equal(one.widths, many.widths)
    measured = [
        measure_channels(source, one, 50, 3, threads, lambda _: None)[0] for threads in (1, 5)
    ]
    assert measured[0].mean == measured[1].mean
    assert measured[0].std == measured[1].std


def test_odd_files_are_listed(tree):
    (tree / "odd/000.txt").write_text("words")
    (tree / "even/zero.jpg").touch()
    write(tree / "even/as.jpg", 4, 4, kind="GIF", mode="P")
    found = look(open_source(str(tree)))
    odd = {found.names[n]: reason for n, reason in found.problems.items()}
    assert odd == {"odd/000.txt": "not an image", "even/zero.jpg": "the file is empty"}
    assert found.good.sum() == 201
    assert found.kinds[found.names.index("even/as.jpg")] == "GIF P"
    for number in found.problems:
        assert not found.good[number] and found.labels[number] == -1 and found.kinds[number] == ""


def test_all_images_are_measured_exactly(tree):
    source = open_source(str(tree))
    found = look(source)
    colours, count = measure_channels(source, found, 0, 0, 2, lambda _: None)
    assert count == 200
    assert colours.mean == pytest.approx([np.mean(range(200))] * 3)
    assert colours.std == pytest.approx([np.std(range(200))] * 3)


def test_a_sample_is_the_seeds(tree):
    source = open_source(str(tree))
    found = look(source)

    def mean(sample, seed):
        colours, count = measure_channels(source, found, sample, seed, 2, lambda _: None)
        assert count == min(sample, 200)
        return colours.mean

    assert mean(30, 0) == mean(30, 0) != mean(30, 1)
    assert mean(1000, 0) == mean(200, 5)
    # The level of 150 of 200 images is known to some units.
    assert mean(150, 0)[0] == pytest.approx(99.5, abs=8)


def test_images_that_cannot_be_decoded_are_found_by_the_sample(tree):
    write(tree / "odd/drawing.pcx", 6, 6)  # OpenCV, with which training decodes, cannot read it
    source = open_source(str(tree))
    found = look(source)
    assert found.problems == {}
    colours, count = measure_channels(source, found, 0, 0, 2, lambda _: None)
    assert count == 200 and colours is not None
    (number,) = found.problems
    assert found.names[number] == "odd/drawing.pcx" and "decode" in found.problems[number]


def test_names_on_one_line():
    assert printable("a/ß image.png") == "a/ß image.png"
    assert printable("a\tb\nc") == "a\\tb\\nc"
    assert printable(b"\xff.png".decode("utf-8", "surrogateescape")) == "\\xff.png"


def test_shards_without_manifest_get_names(tmp_path):
    from imagenet_trainer.data.records.record_writer import RecordWriter
    from imagenet_trainer.data.records.recordio import pack_header

    file = io.BytesIO()
    Image.new("L", (5, 5)).save(file, "PNG")
    for name, most in (("few", 2), ("imagenet", 999)):
        path = tmp_path / f"{name}.rec"
        with RecordWriter(path, path.with_suffix(".idx")) as writer:
            for key, label in enumerate((0, most)):
                writer.write(key, pack_header(float(label), key) + file.getvalue())
    few = look(open_source(str(tmp_path / "few.rec")))
    assert [one.id for one in few.classes] == ["class_0", "class_1", "class_2"]
    known = look(open_source(str(tmp_path / "imagenet.rec")))
    assert known.classes[281].id == "n02123045"
