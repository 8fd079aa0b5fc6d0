import dataclasses
import os
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imagenet_trainer.config import EvaluateSettings
from imagenet_trainer.data.dataset import open_dataset
from imagenet_trainer.data.views import Views
from imagenet_trainer.errors import InputError
from imagenet_trainer.eval.evaluator import EpochResult
from imagenet_trainer.eval.outputs import check_outputs, write_outputs
from imagenet_trainer.metrics import evaluation
from imagenet_trainer.metrics.predictions import Collector
from imagenet_trainer.metrics.semantic import semantic_results
from imagenet_trainer.runs.checkpoint import Preprocessing
from imagenet_trainer.runs.run import Run
from imagenet_trainer.viz import confusion, feature_map, video
from imagenet_trainer.viz.class_order import ORDERS
from imagenet_trainer.viz.matrix_style import COLOURS, OMITTED, SCALES
from imagenet_trainer.viz.video import KINDS

KNOWN = (("n01440764", "tench"), ("n02099601", "golden retriever"), ("n03930630", "pickup"))


@pytest.fixture
def images(packed):
    found = open_dataset(str(packed / "val.rec"), "", 3)
    yield found
    found.shards.close()


def predictions_of(images, seed):
    rng = np.random.default_rng(seed)
    labels = np.array([int(images.shards.record(n).label) for n in range(len(images))])
    odds = rng.random((len(labels), 3)).astype(np.float32)
    collector = Collector(images.shards.keys, 3)
    collector.add(np.arange(len(labels)), odds / odds.sum(axis=1, keepdims=True), labels)
    return collector.complete(f"key {seed}")


def result_of(images, epoch, seed=None, name="", classes=None):
    predictions = predictions_of(images, epoch if seed is None else seed)
    classes = classes or images.classes
    found = evaluation.as_json(evaluation.estimates(predictions), predictions)
    found.update(semantic_results(predictions, [one for one, _ in classes]))
    return EpochResult(epoch, predictions, found, name, classes)


@pytest.fixture
def evaluator(tmp_path, images):
    how = Preprocessing((3, 16, 16), (0.0,) * 3, (1.0,) * 3, 0)
    run = Run(str(tmp_path / "some-run" / "model"))
    run.folder.mkdir()
    input_ = SimpleNamespace(preprocessing=how, views=Views())
    return SimpleNamespace(run=run, dataset=images, input=input_)


def settings_of(**more):
    return dataclasses.replace(EvaluateSettings(), **more)


def names(evaluator):
    return sorted(path.name for path in evaluator.run.folder.iterdir())


def test_every_epoch_has_a_figure(evaluator, images):
    results = [result_of(images, epoch) for epoch in (1, 2)]
    confusion.write_png(
        evaluator.run.confusion_path(1, ".png"), confusion.draw(np.eye(3, dtype=int))
    )
    lines = list(write_outputs(settings_of(), evaluator, results))
    figures = ["confusion-0001.figure.png", "confusion-0002.figure.png"]
    assert names(evaluator) == [figures[0], "confusion-0001.png", figures[1]]
    assert lines[-1] == f"drawn: {evaluator.run.folder / figures[1]}"
    assert any(line.startswith("confused: ") for line in lines[:-1])


def test_a_figure_is_drawn_again_only_for_other_predictions(evaluator, images):
    one = result_of(images, 1)
    confusion.write_png(
        evaluator.run.confusion_path(1, ".png"), confusion.draw(np.eye(3, dtype=int))
    )
    list(write_outputs(settings_of(), evaluator, [one]))
    path = evaluator.run.folder / "confusion-0001.figure.png"
    long_ago = 1_000_000_000
    os.utime(path, (long_ago, long_ago))
    list(write_outputs(settings_of(), evaluator, [one]))
    assert path.stat().st_mtime == long_ago
    other = result_of(images, 1, seed=7)
    list(write_outputs(settings_of(), evaluator, [other]))
    assert path.stat().st_mtime > long_ago
    # Also if an older version drew other counts of the same predictions.
    drawn = path.read_bytes()
    same_key = dataclasses.replace(one.predictions, key=other.predictions.key)
    list(
        write_outputs(
            settings_of(), evaluator, [one._replace(predictions=same_key, metrics=other.metrics)]
        )
    )
    assert path.read_bytes() != drawn


def test_another_order_has_separate_files(evaluator, images):
    results = [result_of(images, epoch, classes=KNOWN) for epoch in (1, 2)]
    list(write_outputs(settings_of(order="wordnet", gif=True), evaluator, results))
    assert names(evaluator) == [
        "confusion-0001.wordnet.figure.png", "confusion-0001.wordnet.png",
        "confusion-0002.wordnet.figure.png", "confusion-0002.wordnet.png", "confusion.wordnet.gif",
    ]  # fmt: skip
    with Image.open(evaluator.run.folder / "confusion-0002.wordnet.png") as image:
        ours = np.array(image)
    # WordNet's groups have fish, dogs, vehicles in this order, which is that of the labels.
    assert np.array_equal(ours, np.array(confusion.draw(results[1].predictions.confusion())))


def test_the_animation_has_the_cluster_order_of_the_last_epoch(evaluator, images):
    results = [result_of(images, epoch) for epoch in (1, 2)]
    list(write_outputs(settings_of(order="cluster", gif=True), evaluator, results))
    with Image.open(evaluator.run.folder / "confusion.cluster.gif") as gif:
        assert gif.n_frames == 2
    list(write_outputs(settings_of(order="cluster", gif=True, gif_axes=True), evaluator, results))
    with Image.open(evaluator.run.folder / "confusion.cluster.axes.gif") as gif:
        assert gif.n_frames == 2
    assert (evaluator.run.folder / "confusion-0001.cluster.png").exists()


def test_a_video(evaluator, images, monkeypatch):
    monkeypatch.setattr(video, "draw_video", lambda path, frames, kind: path.write_bytes(b"video"))
    lines = list(write_outputs(settings_of(video="mp4"), evaluator, [result_of(images, 1)]))
    assert lines[-1] == f"drawn: {evaluator.run.folder / 'confusion.mp4'}"
    assert (evaluator.run.folder / "confusion.mp4").read_bytes() == b"video"


def test_figures_as_vector_graphics_follow_the_png_file(evaluator, images):
    settings = settings_of(figure_formats=("svg",))
    results = [result_of(images, 1)]
    list(write_outputs(settings_of(), evaluator, results))
    list(write_outputs(settings, evaluator, results))  # beside a PNG file that is up to date
    path = evaluator.run.folder / "confusion-0001.figure.svg"
    drawn = path.read_bytes()
    list(write_outputs(settings_of(), evaluator, [result_of(images, 1, seed=5)]))
    list(write_outputs(settings, evaluator, [result_of(images, 1, seed=5)]))
    assert path.read_bytes() != drawn


def test_figures_in_another_style_have_separate_files(evaluator, images):
    plain, styled = settings_of(gif=True, gif_axes=True), settings_of(
        gif=True, gif_axes=True, figure_shares=True, figure_scale="log", figure_top_k=1,
        figure_without=("diagonal",), figure_colours="cividis",
    )  # fmt: skip
    results = [result_of(images, 1)]
    list(write_outputs(plain, evaluator, results))
    before = {name: (evaluator.run.folder / name).read_bytes() for name in names(evaluator)}
    list(write_outputs(styled, evaluator, results))
    words = "top1-shares-log-cividis-no-diagonal"
    assert set(names(evaluator)) - before.keys() == {
        f"confusion-0001.{words}.figure.png", f"confusion.axes.{words}.gif",
    }  # fmt: skip
    assert all((evaluator.run.folder / name).read_bytes() == was for name, was in before.items())


def test_figures_for_tensorboard(evaluator, images):
    results = [result_of(images, epoch) for epoch in (1, 2)]
    lines = list(write_outputs(settings_of(tensorboard=True), evaluator, results))
    folder = evaluator.run.folder / "tensorboard" / "evaluation"
    assert lines[-1].startswith(f"written: {folder}")
    shown = EventAccumulator(str(folder), {"images": 0}).Reload().Images("confusion")
    assert [one.step for one in shown] == [1, 2]
    for one in shown:
        figure = evaluator.run.folder / f"confusion-000{one.step}.figure.png"
        assert one.encoded_image_string == figure.read_bytes()


def test_the_report_has_images_of_the_shard(evaluator, images):
    lines = list(write_outputs(settings_of(report=True), evaluator, [result_of(images, 3)]))
    path = evaluator.run.folder / "report.html"
    assert lines[-1] == f"written: {path}"
    html = path.read_text(encoding="utf-8")
    assert "<title>some-run, epoch 3</title>" in html and "val.rec" in html
    wrong = int((result_of(images, 3).predictions.rank > 0).sum())
    assert wrong and html.count("data:image/jpeg;base64,") >= wrong
    assert 'class="missing"' not in html
    assert all(
        word in html
        for word in ("16 × 16 pixels of a short side of 16", images.fingerprint[:16], "NumPy")
    )
    found = sorted(path.parent.glob("thumbnails-*/00000/*.jpg"))
    assert [int(one.stem) for one in found] == list(range(len(images)))
    assert found[0].parts[-3] == f"thumbnails-{images.fingerprint[:8]}"
    assert f'"folder":"{found[0].parts[-3]}"' in html


@pytest.mark.parametrize("which", ["errors", "none"])
def test_thumbnails_of_some_images(evaluator, images, which):
    settings = settings_of(report=True, thumbnails=which)
    list(write_outputs(settings, evaluator, [result_of(images, 3)]))
    found = evaluator.run.folder.glob("thumbnails-*/00000/*.jpg")
    wrong = np.flatnonzero(result_of(images, 3).predictions.rank > 0)
    wanted = wrong.tolist() if which == "errors" else []
    assert sorted(int(one.stem) for one in found) == wanted


def test_another_dataset_has_a_separate_report(evaluator, images):
    list(write_outputs(settings_of(report=True), evaluator, [result_of(images, 3, name="train")]))
    assert "report-train.html" in names(evaluator)
    assert "confusion-0003-train.figure.png" in names(evaluator)


def test_choices_of_the_flags():
    fields = {field.name: field.metadata for field in dataclasses.fields(EvaluateSettings)}
    assert fields["order"]["choices"] == ORDERS
    assert fields["video"]["choices"] == ("", *KINDS)
    assert fields["map"]["choices"] == feature_map.KINDS
    assert fields["figure_scale"]["choices"] == SCALES
    assert fields["figure_colours"]["choices"] == COLOURS
    assert fields["figure_without"]["parse"](",".join(OMITTED)) == OMITTED


def test_impossible_outputs_are_refused_before_evaluation(monkeypatch, images):
    check_outputs(settings_of(order="wordnet"), KNOWN)
    check_outputs(settings_of(order="cluster"), images.classes)
    with pytest.raises(InputError, match="--order wordnet: class circle "):
        check_outputs(settings_of(order="wordnet"), (KNOWN[0], *images.classes))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"--video webm: .*ffmpeg"):
        check_outputs(settings_of(video="webm"), KNOWN)
