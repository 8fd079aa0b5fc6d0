"""Right classes from files: ReaL labels and CSV tables."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_records

from imagenet_trainer.data.classes import default_classes
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.labels import names_by_key, own_labels, real_labels, table_labels
from imagenet_trainer.eval.truth import Truth
from imagenet_trainer.metrics.predictions import Collector
from imagenet_trainer.metrics.right import right_classes

OWN = [5, 3, 3, 0, 999, 7]  # labels of the images 1 to 6
SHUFFLED = [4, 2, 6, 1, 3, 5]
REAL = [[5], [3, 4], [], [0, 1, 2], [8], [7, 999]]


@pytest.fixture
def dataset(tmp_path):
    """Six of ImageNet's validation images, packed in another order."""
    payloads = [pack_header(float(OWN[n - 1]), n) + b"image" for n in SHUFFLED]
    write_records(tmp_path / "val.rec", payloads, [10 * n for n in SHUFFLED])
    lines = [f"{10 * n}\t{OWN[n - 1]}\tval/ILSVRC2012_val_{n:08d}.JPEG\n" for n in SHUFFLED]
    (tmp_path / "val.lst").write_text("".join(lines))
    found = open_dataset(str(tmp_path / "val.rec"))
    yield found
    found.shards.close()


def test_real_labels_follow_the_names_of_the_files(dataset, tmp_path):
    path = tmp_path / "real.json"
    path.write_text(json.dumps(REAL))
    assert real_labels(str(path), dataset, own_labels(dataset)) == [REAL[n - 1] for n in SHUFFLED]
    # Other names are sorted.
    text = (tmp_path / "val.lst").read_text().replace("ILSVRC2012_val_", "image")
    (tmp_path / "val.lst").write_text(text)
    assert real_labels(str(path), dataset, own_labels(dataset)) == [REAL[n - 1] for n in SHUFFLED]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "give real.json"),
        ("[3]", "is not a list of lists"),
        (json.dumps(REAL[::-1]), "agrees with the labels .* for 0 %"),
        (json.dumps([*REAL[:5], [1000]]), "has class 1000"),
        (json.dumps(REAL[:5]), "names do not tell"),
    ],
)
def test_real_labels_of_other_images(dataset, tmp_path, content, reason):
    path = tmp_path / "real.json"
    path.write_text(content)
    with pytest.raises(InputError, match=f"real.json: .*{reason}"):
        real_labels(str(path), dataset, own_labels(dataset))


def test_names_need_the_list(dataset, tmp_path):
    (tmp_path / "val.lst").unlink()
    (tmp_path / "real.json").write_text(json.dumps(REAL))
    with pytest.raises(InputError, match=r"val\.lst: does not exist"):
        real_labels(str(tmp_path / "real.json"), dataset, own_labels(dataset))


@pytest.mark.parametrize(
    "text",
    [
        "image,label\nILSVRC2012_val_00000004,goldfish\nval/ILSVRC2012_val_00000002.JPEG,7;9\n"
        "ILSVRC2012_val_00000006.JPEG,\n",
        "label,key\nn01443537,40\n7 ; 9,20\n,60\n",
        "ImageId,PredictionString\nILSVRC2012_val_00000004,n01443537 1 2 3 4 n01443537 5 6 7 8 \n"
        "ILSVRC2012_val_00000002,n01514668 1 2 3 4 n01518878 1 2 3 4\nILSVRC2012_val_00000006, \n",
    ],
    ids=["names", "keys", "Kaggle"],
)
def test_labels_from_a_table(dataset, tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    right, changed = table_labels(str(path), dataset, own_labels(dataset))
    # The first three records have other labels, the others keep theirs.
    assert right == [[1], [7, 9], [], [OWN[0]], [OWN[2]], [OWN[4]]] and changed == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b\n1,2\n", "no columns"),
        ("image,label\nnone.jpg,3\n", "line 2: 'none.jpg' is no image"),
        ("key,label\nx,3\n", "line 2: 'x' is no image"),
        ("key,label\n40,3\n20,unicorn\n", "line 3: 'unicorn' is none of the 1000 classes"),
        ("key,label\n40,3\n20,1\n40,5\n", "line 4: '40' is also in line 2; write several"),
        ("key,label\n", "has no labels"),
        ("key,label\n40\n", "line 2|no column|not a CSV"),
    ],
)
def test_tables_that_do_not_fit(dataset, tmp_path, text, reason):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    if text.endswith("40\n"):  # a missing cell leaves the image out
        assert table_labels(str(path), dataset, own_labels(dataset))[0][0] == []
        return
    with pytest.raises(InputError, match=f"labels.csv: .*({reason})"):
        table_labels(str(path), dataset, own_labels(dataset))


def test_a_key_of_two_shards_names_no_image(dataset, tmp_path):
    """Shards of two packs are one dataset, and both packs may have numbered their images from 0."""
    write_records(tmp_path / "more.rec", [pack_header(3.0, 1) + b"image"], [40])
    (tmp_path / "labels.csv").write_text("key,label\n40,7\n")
    (tmp_path / "more.lst").write_text("40\t3\ta.png\n50\t3\trejected.png\n")
    both = open_dataset(f"{tmp_path / 'val.rec'},{tmp_path / 'more.rec'}")
    with both.shards, pytest.raises(InputError, match="line 2: '40' names several images of"):
        table_labels(str(tmp_path / "labels.csv"), both, own_labels(both))
    names = {10 * n: f"val/ILSVRC2012_val_{n:08d}.JPEG" for n in SHUFFLED if n != 4}
    assert names_by_key(both) == names


def test_real_accuracy_is_that_of_its_authors(dataset, tmp_path):
    """`mean(prediction in real)` over the images with labels, as in their code."""
    (tmp_path / "real.json").write_text(json.dumps(REAL))
    right = real_labels(str(tmp_path / "real.json"), dataset, own_labels(dataset))
    rng = np.random.default_rng(1)
    for _ in range(20):
        p = rng.random((6, 1000), np.float32)
        for row in range(6):
            p[row, [0, 3, 4, 7, 8]] += rng.random(5, np.float32) * 2
        judged = Truth(right=right_classes(right, 1000)).judge(
            np.arange(6), p, np.zeros(6, np.int64)
        )
        collector = Collector(np.arange(6), 1000)
        collector.add(*judged)
        found = collector.complete(skipped=1)
        real = [REAL[n - 1] for n in SHUFFLED]
        wanted = [best in one for best, one in zip(p.argmax(axis=1).tolist(), real) if one]
        assert (found.rank < 1).tolist() == wanted
        top5 = np.argsort(-p, axis=1)[:, :5].tolist()
        wanted = [bool({*best} & {*one}) for best, one in zip(top5, real) if one]
        assert (found.rank < 5).tolist() == wanted


def test_the_classes_of_imagenet_that_a_network_has(dataset, tmp_path):
    (tmp_path / "real.json").write_text(json.dumps(REAL))
    few = tuple(default_classes(1000)[label] for label in (7, 5, 3, 0))
    dataset.shards.classes_of_labels = np.full(1000, -1)
    dataset.shards.classes_of_labels[[7, 5, 3, 0]] = range(4)
    dataset = replace(dataset, classes=few)
    right = real_labels(str(tmp_path / "real.json"), dataset, own_labels(dataset))
    wanted = [[few.index(default_classes(1000)[k]) for k in REAL[n - 1]
               if default_classes(1000)[k] in few] for n in SHUFFLED]  # fmt: skip
    assert right == wanted
