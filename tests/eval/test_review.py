"""Accuracy without marked images and with corrected labels, from lists made by hand."""

from pathlib import Path

import numpy as np
import pytest
from helpers.reports import predictions_of

from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.review import Review, read_review

HEAD = "image,key,label,label_name,verdict,class,class_name\n"


@pytest.fixture(scope="module")
def predictions():
    return predictions_of(10)


def written(tmp_path, predictions, rows, head=HEAD):
    lines = [
        f"{image},{predictions.keys[image]},{predictions.labels[image]},name,{verdict},{right},x\n"
        for image, verdict, right in rows
    ]
    path = tmp_path / "review.csv"
    path.write_text(head + "".join(lines))
    return str(path)


def review_of(tmp_path, predictions, rows):
    path = written(tmp_path, predictions, rows)
    return Review(path, read_review(path), predictions)


def test_accuracies_equal_those_counted_one_by_one(tmp_path, predictions):
    rows = [(3, "ambiguous", ""), (11, "wrong label", 7), (25, "wrong label", ""),
            (30, "wrong label", int(predictions.top[30, 0])),
            (40, "wrong label", int(predictions.top[40, 4]))]  # fmt: skip
    review = review_of(tmp_path, predictions, rows)
    marked = {image for image, *_ in rows}
    right = {image: label for image, _, label in rows if label != ""}
    for k in (1, 5):
        hits = [int(predictions.labels[n] in predictions.top[n, :k])
                for n in range(60) if n not in marked]  # fmt: skip
        assert review.accuracy(~review.marked, k)[0] == np.mean(hits)
        hits += [int(label in predictions.top[image, :k]) for image, label in right.items()]
        found = review.accuracy(~review.marked | review.corrected, k)
        assert found[0] == np.mean(hits) and found[1] < found[0] < found[2]
    text = "\n".join(review.lines())
    assert "4 with a wrong label, 3 of them" in text and "1 ambiguous" in text
    assert "55 images" in text and "58 images" in text


def test_marks_on_all_images(tmp_path, predictions):
    review = review_of(tmp_path, predictions, [(n, "ambiguous", "") for n in range(60)])
    assert np.isnan(review.accuracy(~review.marked, 1)).all()
    assert list(review.lines())


@pytest.mark.parametrize(
    ("row", "named"),
    [((60, "ambiguous", ""), "image 60"), ((1, "ambiguous", ""), "image 0"),
     ((2, "wrong label", 10), "class 10"), ((2, "wrong label", -1), "class -1")],
)  # fmt: skip
def test_a_list_of_other_images_or_classes_is_refused(tmp_path, predictions, row, named):
    path = Path(written(tmp_path, predictions_of(11), [row]))
    if named == "image 0":
        path.write_text(path.read_text().replace("\n1,", "\n0,"))
    with pytest.raises(InputError, match=rf"--review .*review\.csv: line 2: .*{named}"):
        Review(str(path), read_review(str(path)), predictions)


@pytest.mark.parametrize(
    ("text", "named"),
    [("a,b\n1,2\n", "column class"), (HEAD + "1,2\n", "line 2"),
     (HEAD + "x,2,3,a,ambiguous,,\n", "'x'"),
     (HEAD + "1,2,3,a,good,,\n", "'good'"), (HEAD + "1,2,3,a,wrong label,y,\n", "'y'"),
     ("", "column class"), ("\udcff", "UTF-8")],
)  # fmt: skip
def test_what_is_not_a_review_is_refused(tmp_path, text, named):
    path = tmp_path / "review.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=named):
        read_review(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="absent"):
        read_review(str(tmp_path / "absent.csv"))
