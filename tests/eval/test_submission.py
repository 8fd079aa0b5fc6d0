import io

import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.classify import FilePrediction
from imagenet_trainer.eval.submission import PredictionTable, Submission, check_ids

TWO = (("cat", "cat"), ("dog", "dog"))
THREE = (("n01", "tench"), ("n02", "goldfish, carp"), ("n03", "n03"))
SYNSETS = (("n01440764", "tench"), ("n01443537", "goldfish"), ("n02099601", "golden retriever"))


def prediction(path, *p, size=(30, 40)):
    return FilePrediction(path, np.array(p, np.float32), size)


def written(submission, *images):
    for one in images:
        submission.add(one)
    file = io.StringIO()
    submission.write(file)
    return file.getvalue()


def test_labels_are_sorted_by_number():
    images = [
        prediction("test/10.jpg", 0.2, 0.8), prediction("test/9.jpg", 0.5, 0.5),
        prediction("other/2.png", 0.9, 0.1),
    ]  # fmt: skip
    found = written(Submission("label", TWO), *images)
    assert found == "id,label\n2,cat\n9,cat\n10,dog\n"  # with equal probabilities the lower index


def test_ids_that_are_not_numbers_are_sorted_as_text():
    found = written(
        Submission("label", TWO), prediction("b10.jpg", 0, 1), prediction("b9.jpg", 1, 0)
    )
    assert found == "id,label\nb10,dog\nb9,cat\n"


def test_the_probability_of_one_class_is_clipped():
    images = [
        prediction("1.jpg", 0.0, 1.0),
        prediction("2.jpg", 1.0, 0.0),
        prediction("3.jpg", 0.75, 0.25),
    ]
    assert written(Submission("probability", TWO), *images) == ("id,label\n1,1\n2,0\n3,0.25\n")
    assert written(Submission("probability", TWO, clip=0.02), *images) == (
        "id,label\n1,0.98\n2,0.02\n3,0.25\n"
    )
    assert written(Submission("probability", TWO, "cat"), *images).splitlines()[3] == "3,0.75"


def test_a_column_per_class():
    found = written(Submission("probabilities", THREE, clip=0.1), prediction("x.jpg", 1, 0, 0))
    # .9, .1, .1 normalised to a sum of 1.
    assert found == "id,n01,n02,n03\nx,0.81818182,0.090909091,0.090909091\n"


def test_probabilities_of_several_classes_have_no_sum():
    """They were divided by it: 0.75 became 0.6."""
    submission = Submission("probabilities", THREE, clip=0.4, has_several=True)
    found = written(submission, prediction("x.jpg", 0.75, 0.5, 0))
    assert found == "id,n01,n02,n03\nx,0.6,0.5,0.4\n"


def test_small_probabilities_keep_their_log_loss():
    """Six decimals made 0 of them, and 1 of their complements: an infinite loss despite --clip."""
    images = [prediction("1.jpg", 1, 3e-9), prediction("2.jpg", 0, 1), prediction("3.jpg", 1, 0)]
    for more, least in (({}, [3e-9, 1, 0]), ({"clip": 1e-7}, [1e-7, 1 - 1e-7, 1e-7])):
        rows = written(Submission("probability", TWO, **more), *images).splitlines()[1:]
        assert [float(row.split(",")[1]) for row in rows] == pytest.approx(least, rel=1e-7)


def test_submission_to_the_imagenet_challenge():
    found = written(
        Submission("imagenet", SYNSETS), prediction("ILSVRC2012_test_1.JPEG", 0.2, 0.5, 0.3)
    )
    assert found == (
        "ImageId,PredictionString\nILSVRC2012_test_1,"
        "n01443537 0 0 40 30 n02099601 0 0 40 30 n01440764 0 0 40 30\n"
    )


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("probability", THREE), "3 classes; .* --submission-class"),
        (("probability", TWO, "bird"), "--submission-class bird: "),
        (("label", TWO, "", 0.1), "--clip 0.1: --submission-kind label "),
        (("probabilities", THREE, "", 0.4), "--clip 0.4: must be below 1/3"),
        (("probability", THREE, "n02", 0.5), "--clip 0.5: must be below 1/2"),
        (("imagenet", (*SYNSETS, ("cat", "cat"))), "--submission-kind imagenet: class cat "),
        (("imagenet", THREE), "class n01 "),
    ],
)
def test_arguments_that_do_not_fit(arguments, reason):
    with pytest.raises(InputError, match=reason):
        Submission(*arguments)


def test_one_probability_of_many_classes_may_be_clipped_further():
    rows = written(Submission("probability", THREE, "n03", 0.4), prediction("x.jpg", 0.9, 0.1, 0))
    assert rows == "id,label\nx,0.4\n"


def test_two_images_with_the_same_id():
    check_ids(["a/1.jpg", "a/10.jpg", "b/2.png"])
    with pytest.raises(InputError, match=r"b/1.png: .* id 1"):
        check_ids(["a/1.jpg", "a/10.jpg", "b/1.png"])


def test_the_csv_table():
    file = io.StringIO()
    table = PredictionTable(file, THREE, 2)
    table.add(prediction('odd "name", 1.jpg', 0.2, 0.5, 0.3))
    assert file.getvalue() == (
        "file,id1,name1,probability1,id2,name2,probability2\n"
        '"odd ""name"", 1.jpg",n02,"goldfish, carp",0.500000,n03,n03,0.300000\n'
    )
