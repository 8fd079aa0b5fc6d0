import io

import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.classify import FilePrediction
from imagenet_trainer.eval.submission import Submission, Table, check_ids

TWO = (("cat", "cat"), ("dog", "dog"))
THREE = (("n01", "tench"), ("n02", "goldfish, carp"), ("n03", "n03"))
SYNSETS = (("n01440764", "tench"), ("n01443537", "goldfish"), ("n02099601", "golden retriever"))


def named(path, *p, size=(30, 40)):
    return FilePrediction(path, np.array(p, np.float32), size)


def written(submission, *images):
    for one in images:
        submission.add(one)
    file = io.StringIO()
    submission.write(file)
    return file.getvalue()


def test_labels_sorted_by_number():
    found = written(
        Submission("label", TWO), named("test/10.jpg", 0.2, 0.8), named("test/9.jpg", 0.5, 0.5),
        named("other/2.png", 0.9, 0.1),
    )  # fmt: skip
    assert found == "id,label\n2,cat\n9,cat\n10,dog\n"  # of equal ones the lower index


def test_names_that_are_no_numbers_sort_as_words():
    found = written(Submission("label", TWO), named("b10.jpg", 0, 1), named("b9.jpg", 1, 0))
    assert found == "id,label\nb10,dog\nb9,cat\n"


def test_the_probability_of_dogs_clipped():
    images = [named("1.jpg", 0.0, 1.0), named("2.jpg", 1.0, 0.0), named("3.jpg", 0.75, 0.25)]
    assert written(Submission("probability", TWO), *images) == (
        "id,label\n1,1.000000\n2,0.000000\n3,0.250000\n"
    )
    assert written(Submission("probability", TWO, clip=0.02), *images) == (
        "id,label\n1,0.980000\n2,0.020000\n3,0.250000\n"
    )
    assert written(Submission("probability", TWO, "cat"), *images).splitlines()[3] == "3,0.750000"


def test_a_column_for_each_class():
    found = written(Submission("probabilities", THREE, clip=0.1), named("x.jpg", 1, 0, 0))
    # .9, .1, .1 made to add up to one.
    assert found == "id,n01,n02,n03\nx,0.818182,0.090909,0.090909\n"


def test_imagenets_own():
    found = written(Submission("imagenet", SYNSETS), named("ILSVRC2012_test_1.JPEG", 0.2, 0.5, 0.3))
    assert found == (
        "ImageId,PredictionString\nILSVRC2012_test_1,"
        "n01443537 0 0 40 30 n02099601 0 0 40 30 n01440764 0 0 40 30\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("probability", THREE), "has 3 classes; say which one with --submission-class"),
        (("probability", TWO, "bird"), "--submission-class bird: no such class"),
        (("label", TWO, "", 0.1), "holds no probabilities"),
        (("probabilities", THREE, "", 0.4), "is not below 1 / 3"),
        (("imagenet", (*SYNSETS, ("cat", "cat"))), "class cat is no WordNet id such as n01440764"),
        (("imagenet", THREE), "class n01 is no WordNet id"),
    ],
)
def test_what_does_not_fit(words, told):
    with pytest.raises(InputError, match=told):
        Submission(*words)


def test_two_images_of_one_id():
    check_ids(["a/1.jpg", "a/10.jpg", "b/2.png"])
    with pytest.raises(InputError, match=r"b/1.png: there is another image with the id 1"):
        check_ids(["a/1.jpg", "a/10.jpg", "b/1.png"])


def test_a_table():
    file = io.StringIO()
    table = Table(file, THREE, 2)
    table.add(named('odd "name", 1.jpg', 0.2, 0.5, 0.3))
    assert file.getvalue() == (
        "file,id1,name1,probability1,id2,name2,probability2\n"
        '"odd ""name"", 1.jpg",n02,"goldfish, carp",0.500000,n03,n03,0.300000\n'
    )
