import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_images, write_records
from helpers.loading import encoded

from imagenet_trainer.config import EvaluateSettings, FitSettings
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval import evaluator
from imagenet_trainer.packing import im2rec
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.train.datasets import (
    empty_class_messages,
    number_of_classes,
    open_training_set,
    open_validation_set,
)


def settings(packed, **flags):
    return FitSettings(
        data_train=str(packed / "train.rec"), data_val=str(packed / "val.rec"), **flags
    )


def test_the_sets_of_a_training(packed):
    flags = settings(packed, num_classes=3, num_examples=60)
    train = open_training_set(flags)
    assert len(train) == 60 and train.subset is None
    assert len(open_validation_set(flags, train.classes, train.path)) == 15


def test_classes_without_an_image_are_named(packed):
    """Labels that count from 1 made a network with an output for nothing, silently."""
    train = open_training_set(settings(packed))
    assert not empty_class_messages(train)
    (message,) = empty_class_messages(replace(train, counts=np.array([0, 20, 40])))
    assert "no image of 1 of its 3 classes, 0 (circle): " in message
    assert "labels count from 0" in message


def test_one_of_several_labels(tmp_path):
    payloads = [pack_header([n % 2, n % 3], n) + encoded(n) for n in range(6)]
    for name in ("train", "val"):
        write_records(tmp_path / f"{name}.rec", payloads)
    with pytest.raises(InputError, match=r"^--data-train .*2 labels .*--label-index"):
        open_training_set(settings(tmp_path, num_classes=3))
    flags = settings(tmp_path, num_classes=3, label_index=1)
    train = open_training_set(flags)
    labels = train.shards.record(5).labels
    assert train.shards.class_of(5, labels, 3) == 2
    # evaluate takes the label of the training, unless the flag names another one.
    run = Run(str(tmp_path / "model"))
    write_json(run.config_path, {"settings": {**asdict(flags), "network": "resnet"}})
    trained = SimpleNamespace(classes=train.classes)
    for own, expected in ((None, 2), (0, 1)):
        of_evaluate = EvaluateSettings(label_index=own)
        val, _ = evaluator.open_validation_set(of_evaluate, run, trained)
        assert val.shards.class_of(5, labels, 3) == expected


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_classes": 4}, r"^--num-classes 4: .*train\.rec has 3 "),
        ({"num_examples": 61}, r"^--num-examples 61: .*train\.rec has 60 "),
    ],
)
def test_flags_that_disagree_with_the_shards(packed, flags, message):
    with pytest.raises(InputError, match=message):
        open_training_set(settings(packed, **flags))


def test_errors_name_the_flag_and_the_path(packed, tmp_path):
    missing = tmp_path / "x.rec"
    flags = FitSettings(data_train=str(missing), data_val=str(packed / "val.rec"))
    with pytest.raises(InputError, match=f"^--data-train {missing}: "):
        open_training_set(flags)
    with pytest.raises(InputError, match=r"^--data-val .*val\.rec: 3 of its .* 2 of train"):
        open_validation_set(flags, (("a", "a"), ("b", "b")), "train")


def test_a_share_of_the_training_images(packed):
    tenth, third = (
        open_training_set(settings(packed, num_examples=60, train_fraction=share))
        for share in (0.1, 0.3)
    )
    assert len(tenth) == 6 and len(third) == 18 and len(third.shards) == 60
    assert set(tenth.subset.tolist()) < set(third.subset.tolist()) < set(range(60))
    other = open_training_set(settings(packed, seed=1, train_fraction=0.3))
    assert other.subset.tolist() != third.subset.tolist()


def test_the_number_of_classes_of_shards_that_may_be_missing(packed, tmp_path):
    missing = str(tmp_path / "x.rec")
    assert number_of_classes(settings(packed)) == 3
    assert number_of_classes(FitSettings(data_train=missing)) == 1000
    assert number_of_classes(FitSettings(data_train=missing, num_classes=7)) == 7


def test_a_set_of_one_class(tmp_path):
    write_images(tmp_path / "images", 2)
    for name in ("circle", "cross"):
        shutil.rmtree(tmp_path / "images" / name)
    words = [str(tmp_path / "train"), str(tmp_path / "images")]
    assert im2rec.main(["--list", "--recursive", *words]) == 0
    assert im2rec.main(words) == 0
    with pytest.raises(InputError, match=r"^--data-train .*train\.rec: has one class, square"):
        open_training_set(FitSettings(data_train=str(tmp_path / "train.rec")))
