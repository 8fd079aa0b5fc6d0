import io

import numpy as np
import pytest
from conftest import write_records
from PIL import Image

from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.explore.sources import open_source
from imagenet_trainer.explore.survey import measure_channels, survey


def write(path, width, height, level=100, kind=None, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (level, level, level)).convert(mode).save(path, kind)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """200 images of two classes; sizes and grey levels follow from the names."""
    return write_tree(tmp_path_factory.mktemp("images"), 200)


def write_tree(folder, count):
    for number in range(count):
        name = f"{'even' if number % 2 == 0 else 'odd'}/{number:03d}.png"
        write(folder / name, 5 + number % 7, 3 + number % 5, number)
    return folder


def run_survey(source, threads=2):
    calls = []
    result = survey(source, threads, calls.append)
    assert sum(calls) == len(source)
    return result


def test_columns(tree):
    result = run_survey(open_source(str(tree)))
    numbers = [int(name.split("/")[1][:3]) for name in result.names]
    assert sorted(numbers) == list(range(200))
    assert result.labels.tolist() == [number % 2 for number in numbers]
    assert result.widths.tolist() == [5 + number % 7 for number in numbers]
    assert result.heights.tolist() == [3 + number % 5 for number in numbers]
    assert result.sizes.tolist() == [(tree / name).stat().st_size for name in result.names]
    assert result.kinds == ["PNG RGB"] * 200
    assert result.problems == {}
    assert result.good.all()


def test_threads_change_nothing(tree):
    source = open_source(str(tree))
    one, many = run_survey(source, 1), run_survey(source, 5)
    assert one.names == many.names and np.array_equal(one.widths, many.widths)
    measured = [
        measure_channels(source, one, 50, 3, threads, lambda _: None)[0] for threads in (1, 5)
    ]
    assert measured[0].mean == measured[1].mean
    assert measured[0].std == measured[1].std


def test_unreadable_files_are_listed(tmp_path):
    tree = write_tree(tmp_path, 4)
    (tree / "odd/000.txt").write_text("words")
    (tree / "even/zero.jpg").touch()
    write(tree / "even/as.jpg", 4, 4, kind="GIF", mode="P")
    result = run_survey(open_source(str(tree)))
    problems = {result.names[n]: reason for n, reason in result.problems.items()}
    assert problems == {"odd/000.txt": "not an image", "even/zero.jpg": "the file is empty"}
    assert result.good.sum() == 5
    assert result.kinds[result.names.index("even/as.jpg")] == "GIF P"
    for number in result.problems:
        assert (
            not result.good[number] and result.labels[number] == -1 and result.kinds[number] == ""
        )


def test_all_images_are_measured_exactly(tree):
    source = open_source(str(tree))
    result = run_survey(source)
    colours, count = measure_channels(source, result, 0, 0, 2, lambda _: None)
    assert count == 200
    assert colours.mean == pytest.approx([np.mean(range(200))] * 3)
    assert colours.std == pytest.approx([np.std(range(200))] * 3)


def test_the_sample_follows_the_seed(tree):
    source = open_source(str(tree))
    result = run_survey(source)

    def mean(sample, seed):
        colours, count = measure_channels(source, result, sample, seed, 2, lambda _: None)
        assert count == min(sample, 200)
        return colours.mean

    assert mean(30, 0) == mean(30, 0) != mean(30, 1)
    assert mean(1000, 0) == mean(200, 5)
    # The mean of 150 of the 200 levels is close to that of all.
    assert mean(150, 0)[0] == pytest.approx(99.5, abs=8)


def test_images_that_cannot_be_decoded_are_found_by_the_sample(tmp_path):
    tree = write_tree(tmp_path, 4)
    write(tree / "odd/drawing.pcx", 6, 6)
    write(tree / "odd/packable.gif", 6, 6)  # OpenCV does not decode it, but packing
    source = open_source(str(tree))
    result = run_survey(source)
    assert result.problems == {}
    colours, count = measure_channels(source, result, 0, 0, 2, lambda _: None)
    assert count == 5 and colours is not None
    (number,) = result.problems
    assert result.names[number] == "odd/drawing.pcx" and "decode" in result.problems[number]


def test_shards_without_manifest_get_names(tmp_path):
    file = io.BytesIO()
    Image.new("L", (5, 5)).save(file, "PNG")
    for name, most in (("few", 2), ("imagenet", 999)):
        records = [pack_header(float(label), 0) + file.getvalue() for label in (0, most)]
        write_records(tmp_path / f"{name}.rec", records)
    few = run_survey(open_source(str(tmp_path / "few.rec")))
    assert [one.id for one in few.classes] == ["class_0", "class_1", "class_2"]
    known = run_survey(open_source(str(tmp_path / "imagenet.rec")))
    assert known.classes[281].id == "n02123045"
