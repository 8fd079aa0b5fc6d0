"""An evaluation with thousands of classes: its memory must not grow with their square."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import run

from imagenet_trainer.benchmarks import many_classes
from imagenet_trainer.benchmarks.synthetic_predictions import many_predictions
from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.views import Views
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.eval.outputs import check_outputs, write_outputs
from imagenet_trainer.eval.results import EvaluationInput, ResultFiles
from imagenet_trainer.metrics.confusion import equal, matrix_in
from imagenet_trainer.runs.checkpoint import Preprocessing, read_arrays
from imagenet_trainer.runs.run import Run
from imagenet_trainer.viz import confusion
from imagenet_trainer.viz.class_order import MOST_CLUSTERED
from imagenet_trainer.viz.confusion_figure import Sides, draw_figure

CLASSES, IMAGES = 3000, 500
DENSE = 8 * CLASSES**2 / 1e6  # MB of an array of int64
NAMES = tuple((f"c{label}", f"class {label}") for label in range(CLASSES))


def write_everything(run, predictions):
    no_images = SimpleNamespace(keys=np.array([-1]))
    dataset = SimpleNamespace(path="val.rec", fingerprint="f", classes=NAMES, shards=no_images)
    how = Preprocessing((3, 16, 16), (0.0,) * 3, (1.0,) * 3, 0)
    input_ = EvaluationInput(dataset, how, Views())
    metrics = ResultFiles(run, input_, how, True).record(1, predictions, ())
    evaluator = SimpleNamespace(run=run, dataset=dataset, input=input_)
    result = EpochResult(1, predictions, metrics, "", NAMES)
    settings = EvaluateSettings(gif=True, report=True)
    return list(write_outputs(settings, evaluator, [result]))


def test_no_result_needs_a_dense_matrix(tmp_path):
    predictions = many_predictions(IMAGES, CLASSES)
    run = Run(str(tmp_path / "model"))
    # What is imported at first use is not measured.
    draw_figure(np.eye(2, dtype=int), Sides("ab", np.arange(2)), "", "")
    tracemalloc.start()
    try:
        write_everything(run, predictions)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()
    print(peak, DENSE)
    assert peak < 0.9 * DENSE
    stored = matrix_in(read_arrays(run.confusion_path(1, ".npz")))
    assert equal(stored, predictions.confusion()) and stored.sum() == 5 * IMAGES


def test_the_benchmark_prints_time_and_memory(capsys):
    many_classes.run(200, 1200)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "synthetic predictions: 200 images, 1,200 classes"
    assert len(lines) == 12 and lines[-1].endswith("GB (target 60 s, 2 GB)")


@pytest.mark.slow
def test_imagenet_21k_takes_two_gigabytes():
    # In a process of its own: the peak of this one may be that of another test.
    done = run("-m", "imagenet_trainer.benchmark", "many-classes")
    assert float(done.stdout.splitlines()[-1].split()[3]) < many_classes.GIGABYTES


def test_too_many_classes_to_cluster_are_refused_before_evaluation():
    check_outputs(EvaluateSettings(order="cluster"), NAMES[:MOST_CLUSTERED])
    with pytest.raises(InputError, match="--order cluster: 3,000 classes"):
        check_outputs(EvaluateSettings(order="cluster"), NAMES)


def test_a_picture_counts_the_cells_of_a_pixel(tmp_path):
    predictions = many_predictions(IMAGES, CLASSES)
    dense = predictions.confusion().toarray()
    first = np.arange(1000) * CLASSES // 1000
    summed = np.add.reduceat(np.add.reduceat(dense, first, axis=0), first, axis=1)
    drawn = confusion.draw(predictions.confusion())
    assert np.array_equal(np.array(drawn), np.array(confusion.draw(summed)))
