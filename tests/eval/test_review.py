"""Accuracy without marked images and with corrected labels, from lists made by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.reports import own_classes, predictions_of

from imagenet_trainer.data.review import read_reviews
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.review import ReviewedPredictions

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
    return ReviewedPredictions(read_reviews(path), predictions, own_classes(10), list)


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
     ((2, "wrong label", 10), "10 is not a class"),
     ((2, "wrong label", -1), "'-1' is not the number")],
)  # fmt: skip
def test_a_list_of_other_images_or_classes_is_refused(tmp_path, predictions, row, named):
    path = Path(written(tmp_path, predictions_of(11), [row]))
    if named == "image 0":
        path.write_text(path.read_text().replace("\n1,", "\n0,"))
    with pytest.raises(InputError, match=rf"review\.csv: line 2: .*{named}"):
        ReviewedPredictions(read_reviews(str(path)), predictions, own_classes(10), list)


@pytest.mark.parametrize(
    ("text", "named"),
    [("a,b\n1,2\n", "has no file"), (HEAD + "1,2\n", "no row has a verdict"),
     (HEAD + "x,2,3,a,ambiguous,,\n", "line 2: 'x'"), (HEAD + "1,,3,a,ambiguous,,\n", "no key"),
     (HEAD + "1,2,3,a,good,,\n", "line 2: .*'good'"), ("", "has no file"),
     (HEAD + "1,2,trouser,trouser,ok,,\n", "line 2: 'trouser' is not the number of a class"),
     (HEAD + "1,2,3,a,wrong,coat,\n", "line 2: 'coat' is not the number of a class"),
     (HEAD + "1,2,3,a,ok,,\n1,2,3,a,ambiguous,,\n", "line 3: .* than line 2"),
     ("\udcff", "has no file"), (HEAD + "a" * 140_000, "line 1: field larger")],
)  # fmt: skip
def test_what_is_not_a_review_is_refused(tmp_path, text, named):
    path = tmp_path / "review.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=named):
        read_reviews(str(path))


def test_the_list_of_an_audit(tmp_path, predictions):
    """It names classes by id, and images by key or file; those of other folds are passed over."""
    named = [(int(key), f"{key}.png") for key in predictions.keys]
    path = tmp_path / "audit.csv"
    label = predictions.labels.tolist()
    path.write_text(
        "key,file,given,proposed,verdict\n"
        f"{predictions.keys[5]},a.png,c{label[5]},c{(label[5] + 1) % 10},wrong\n"
        f",{predictions.keys[6]}.png,c{label[6]},,ambiguous\n"
        f"{predictions.keys[7]},b.png,c{label[7]},c0,ok\n"
        f"{predictions.keys[8]},b.png,c{label[8]},c0,\n"
        "77777,c.png,c0,c1,wrong\n"
    )
    reviews = read_reviews(str(path))
    found = ReviewedPredictions(reviews, predictions, own_classes(10), lambda: named)
    assert np.flatnonzero(found.marked).tolist() == [5, 6]
    assert np.flatnonzero(found.corrected).tolist() == [5] and found.missing == 1
    assert "1 ambiguous; 1 right; 1 are not among these images" in next(found.lines())
    with pytest.raises(InputError, match="none of the images"):
        ReviewedPredictions(reviews[-1:], predictions, own_classes(10), lambda: named)
    with pytest.raises(InputError, match=f"line 2: .* has the class c{label[5]} here, not c9"):
        wrong = reviews[0]._replace(given="c9")
        ReviewedPredictions([wrong], predictions, own_classes(10), lambda: named)


def test_a_file_of_which_several_images_have_key_or_name(tmp_path, predictions):
    """As those of shards of two packs. The row changed nothing, or the other image."""
    row = f",a.png,c{predictions.labels[1]},,wrong\n"
    (tmp_path / "audit.csv").write_text(f"key,file,given,proposed,verdict\n{row}")
    reviews, key = read_reviews(str(tmp_path / "audit.csv")), int(predictions.keys[1])
    keys = predictions.keys.copy()
    keys[0] = key
    for one, named in (
        (replace(predictions, keys=keys), [(key, "b.png"), (key, "a.png"), (key, "c.png")]),
        (predictions, [(key, "a.png"), (key + 1, "a.png")]),
    ):
        with pytest.raises(InputError, match=r"line 2: several images have .* of a\.png"):
            ReviewedPredictions(reviews, one, own_classes(10), lambda named=named: named)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="absent"):
        read_reviews(str(tmp_path / "absent.csv"))
