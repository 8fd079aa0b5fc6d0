"""Entries of evaluation.json that the first versions wrote."""

import hashlib
from types import SimpleNamespace

import pytest

from imagenet_trainer.data.views import Views
from imagenet_trainer.eval.results import EvaluationInput, same
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.system.files import sha256

PARAMS = b"parameters"


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "model-0001.params"
    path.write_bytes(PARAMS)
    return path


@pytest.mark.parametrize(
    ("views", "bgr", "more"),
    [
        (Views(), False, []),
        (Views(10), False, ["Views(crops=10, flip=False, bgr=False)"]),
        (Views(flip=True), True, ["Views(crops=1, flip=True, bgr=True)"]),
    ],
)
def test_keys_are_those_of_the_first_versions(params, views, bgr, more):
    # The order of the channels was one of the views.
    how = Preprocessing((3, 16, 16), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 18, bgr)
    dataset = SimpleNamespace(path="val.rec", fingerprint="abc")
    text = (
        "Preprocessing(image_shape=(3, 16, 16), rgb_mean=(1.0, 2.0, 3.0), "
        "rgb_std=(4.0, 5.0, 6.0), val_resize=18)"
    )
    parts = [hashlib.sha256(PARAMS).hexdigest(), text, "abc", *more]
    wanted = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    input_ = EvaluationInput(dataset, how, views)
    assert input_.key(sha256(params)) == wanted
    entry = {
        "pictures": "elsewhere/val.rec",
        "fingerprint": "abc",
        "preprocessing": {
            "image_shape": [3, 16, 16], "rgb_mean": [1, 2, 3], "rgb_std": [4, 5, 6],
            "val_resize": 18,
        },
        "views": {"crops": views.crops, "flip": views.flip, "bgr": bgr},
    }  # fmt: skip
    assert same(entry, input_.about())
