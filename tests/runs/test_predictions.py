import numpy as np
import pytest

from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.predictions import Collector, ProbabilitiesFile
from imagenet_trainer.runs.predictions import (
    has_probabilities,
    load_predictions,
    rename_old_probabilities,
    save_predictions,
)
from imagenet_trainer.runs.run import Run

N, CLASSES = 11, 6
OLD_PREDICTIONS, OLD_PROBABILITIES = "answers-0003{}.npz", "predictions-0003{}.npz"


@pytest.fixture
def run(tmp_path):
    return Run(str(tmp_path / "model"))


def predictions_of(key):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(CLASSES), N).astype(np.float32)
    labels = rng.integers(0, CLASSES, N)
    collector = Collector(np.arange(N), CLASSES)
    collector.add(np.arange(N), probabilities, labels)
    return collector.complete(key), probabilities, labels


def write_probabilities(path, key):
    predictions, probabilities, labels = predictions_of(key)
    with ProbabilitiesFile(path, N, CLASSES) as file:
        file.add(np.arange(N), probabilities, labels)
        file.finish(predictions)
    return path.read_bytes()


@pytest.fixture(params=["", "train"])
def old(run, request):
    """The files that version 0.1 wrote for a dataset: its name, the bytes of both files."""
    suffix = request.param and "-" + request.param
    path = run.folder / OLD_PREDICTIONS.format(suffix)
    predictions_of("old key")[0].save(path)
    probabilities = write_probabilities(run.folder / OLD_PROBABILITIES.format(suffix), "old key")
    return request.param, path.read_bytes(), probabilities


def names(run):
    return {path.name for path in run.folder.iterdir()}


def test_save_and_load(run):
    save_predictions(run, 3, "train", predictions_of("a")[0])
    assert names(run) == {"predictions-0003-train.npz"}
    assert load_predictions(run, 3, "train").key == "a"
    assert load_predictions(run, 3, "train", "b") is None and load_predictions(run, 3) is None


def test_files_of_version_0_1_are_loaded(run, old):
    dataset, _, probabilities = old
    for key in ("old key", None):
        assert load_predictions(run, 3, dataset, key).key == "old key"
    assert load_predictions(run, 3, dataset, "another") is None
    rename_old_probabilities(run, 3, dataset)
    assert has_probabilities(run, 3, dataset, "old key")
    assert not has_probabilities(run, 3, dataset, "another")
    assert run.probabilities_path(3, dataset).read_bytes() == probabilities
    assert load_predictions(run, 3, dataset).key == "old key"


def test_new_predictions_do_not_replace_old_probabilities(run, old):
    dataset, _, probabilities = old
    rename_old_probabilities(run, 3, dataset)
    rename_old_probabilities(run, 3, dataset)  # nothing is left to do
    save_predictions(run, 3, dataset, predictions_of("new key")[0])
    rename_old_probabilities(run, 3, dataset)  # predictions keep their name
    suffix = dataset and "-" + dataset
    assert names(run) == {f"predictions-0003{suffix}.npz", f"probabilities-0003{suffix}.npz"}
    assert run.probabilities_path(3, dataset).read_bytes() == probabilities
    assert load_predictions(run, 3, dataset).key == "new key"


def test_two_files_of_probabilities_are_refused(run):
    old = run.folder / OLD_PROBABILITIES.format("")
    content = write_probabilities(old, "old key")
    newer = write_probabilities(run.probabilities_path(3), "new key")
    with pytest.raises(InputError, match=r"predictions-0003.npz.* probabilities-0003.npz"):
        rename_old_probabilities(run, 3, "")
    assert old.read_bytes() == content and run.probabilities_path(3).read_bytes() == newer
