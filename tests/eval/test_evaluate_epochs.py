"""Which epochs evaluate computes, and what it reads for several."""

from dataclasses import replace

import pytest
from helpers.evaluated import evaluator_of, metrics_of, refusal

from imagenet_trainer import evaluate
from imagenet_trainer.config import EvaluateSettings, flags
from imagenet_trainer.eval import evaluator, inference
from imagenet_trainer.eval.epochs import select_epochs
from imagenet_trainer.runs.run import Run


@pytest.mark.parametrize(
    ("words", "epochs"),
    [([], (2,)), (["--epochs", "all"], (1, 2)), (["--epochs", "1"], (1,)),
     (["--epochs", "1-2"], (1, 2)), (["--epochs", "2,1"], (1, 2))],
)  # fmt: skip
def test_selected_epochs(trained, words, epochs):
    settings = flags.parse(EvaluateSettings, words, "evaluate", "")
    assert select_epochs(Run(str(trained / "model")), settings.epochs) == epochs


def test_only_the_selected_epochs_are_evaluated(fresh, scored):
    lines, found = scored(fresh, "--epochs", "1")
    assert lines[0].startswith("epoch 1: ") and list(found) == ["1"]
    assert not any(line.startswith("epoch ") for line in lines[1:])
    for epoch in (1, 2):
        for suffix in (".png", ".npz"):
            assert Run(fresh).confusion_path(epoch, suffix).exists() == (epoch == 1)


def test_missing_epochs(fresh, capsys):
    line = refusal(capsys, "--model-prefix", fresh, "--epochs", "1-30")
    assert "model-0003.params: " in line and "epochs 1 to 2" in line
    assert not Run(fresh).evaluation_path.exists()


def test_without_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refusal(capsys)
    assert "runs/" in line and "imagenet_trainer.fit" in line
    line = refusal(capsys, "--model-prefix", "nowhere/model")
    assert "nowhere/model" in line and "imagenet_trainer.fit" in line


def test_the_newest_run_is_found(prefix, tmp_path, monkeypatch, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs" / "some")
    monkeypatch.chdir(tmp_path)
    assert evaluate.main([]) == 0
    assert capsys.readouterr().out.startswith("epoch 2: ")
    assert (tmp_path / "runs" / "some" / "confusion-0002.png").exists()


def test_a_prefix_that_names_a_folder_or_a_file(prefix, capsys):
    for word in (str(Run(prefix).folder), f"{prefix}-0001.params"):
        line = refusal(capsys, "--model-prefix", word)
        assert f"--model-prefix {word}: " in line and line.endswith(f": {prefix}")


@pytest.mark.parametrize(
    ("share", "free", "passes", "message"),
    [(0.5, 10**9, 1, "decoded once for 2 epochs"), (0.5, 10_000, 2, "--cache-memory 0.5 "),
     (0, 10**9, 2, "")],
)  # fmt: skip
def test_images_are_decoded_once_if_they_fit(
    fresh, evaluated, monkeypatch, share, free, passes, message
):
    calls, real, lines = [], inference.evaluation_batches, []

    def counted_batches(*words, **more):
        calls.append(1)
        return real(*words, **more)

    monkeypatch.setattr(inference, "evaluation_batches", counted_batches)
    monkeypatch.setattr(evaluator, "free_memory", lambda: free)
    results = list(
        evaluator_of(fresh, 1, 2, log=lines.append, cache_memory=share).results()
    )  # fmt: skip
    assert len(calls) == passes and message in "".join(lines) and bool(lines) == bool(message)
    wanted = metrics_of(str(evaluated[0] / "model"))
    assert [one.metrics for one in results] == [wanted["1"], wanted["2"]]


def test_epochs_with_different_preprocessing_are_refused(fresh, capsys):
    model = Run(fresh)
    second = model.load(2)
    how = replace(second.preprocessing, rgb_mean=(0.0, 0.0, 0.0))
    model.save(replace(second, preprocessing=how), 2)
    assert evaluate.main(["--model-prefix", fresh, "--epochs", "all", "--cache-memory", "0"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "model-0002.params: " in line and "epoch 1" in line
