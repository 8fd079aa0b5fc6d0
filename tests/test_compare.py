"""The command: networks trained, interrupted, continued, measured, compared."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from conftest import words_of_fit

from imagenet_trainer import compare, config, fit
from imagenet_trainer.comparison import child_process, latency, measure, page
from imagenet_trainer.comparison.candidates import Candidate, check, find_candidates
from imagenet_trainer.comparison.compare import is_trained as run_is_trained
from imagenet_trainer.comparison.results import read_results, read_stored
from imagenet_trainer.config import flags
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.predictions import load
from imagenet_trainer.runs import params
from imagenet_trainer.runs.run import Run

QUICK = ["--rounds", "3", "--largest-batch", "2"]
NAMES = ("resnet-8", "one-stage-cnn")


def common(packed):
    """The flags of fit without its network."""
    return words_of_fit(packed)[4:]


COMMANDS = {
    "imagenet_trainer.fit": fit.main, "imagenet_trainer.comparison.measure": measure.main,
    "imagenet_trainer.comparison.latency": latency.main,
}  # fmt: skip


def run_here(module, arguments, interrupts, forward_signals=False):
    """Like child_process.run, but in this process: MXNet is imported already. --lr 1e9 fails."""
    if "--lr=1e9" in arguments:
        return child_process.Ended(2, "the loss <of> update 1 is not finite", 1.0, 10**8)
    start, messages = time.monotonic(), io.StringIO()
    with contextlib.redirect_stderr(messages):
        code = COMMANDS[module](list(arguments))
    error = messages.getvalue().partition(": error: ")[2].rstrip()
    return child_process.Ended(code, error, time.monotonic() - start, 10**8)


@pytest.fixture
def no_plots(monkeypatch):
    """Plots take longer than the rest of the report, which is written after each network."""
    monkeypatch.setattr(page, "draw_plots", lambda results: {"fronts": b"<svg/>"})


@pytest.fixture
def here(monkeypatch, no_plots):
    monkeypatch.setattr(child_process, "run", run_here)
    monkeypatch.setattr(measure, "_SECONDS", 0.0)  # so that a few calls are enough


def flags_by_name(arguments):
    pairs = zip(arguments[::2], arguments[1::2])
    return {name[2:].replace("-", "_"): value for name, value in pairs}


@pytest.fixture(scope="module")
def done(packed, tmp_path_factory):
    """Folder and result of a comparison of two networks and one that fails."""
    folder = tmp_path_factory.mktemp("compare")
    file = folder / "list.txt"
    file.write_text("resnet-8\nmobilenet --lr=1e9\none-stage-cnn --lr 0.001 --train-fraction 0.5\n")
    draw_plots = page.draw_plots
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child_process, "run", run_here)
        patch.setattr(measure, "_SECONDS", 0.0)
        # The report is written after each network; only the last one has its plots.
        patch.setattr(
            page,
            "draw_plots",
            lambda results: draw_plots(results) if results[1:] else {"fronts": b"<svg/>"},
        )
        result = compare(networks=file, output=folder / "out",
                         **flags_by_name([*QUICK, *common(packed)]))  # fmt: skip
    return folder / "out", file, result


def rows_of(output, name="compare.csv"):
    with open(output / name, newline="") as file:
        return list(csv.DictReader(file))


def test_return_value_in_python(done):
    output, _, result = done
    assert result["report"] == str(output / "compare.html")
    assert list(result["networks"]) == list(NAMES)
    assert result["networks"]["one-stage-cnn"]["train_images"] == 30
    assert result["advice"]["smallest"] == "resnet-8"
    assert result["failed"] == {"mobilenet": "the loss <of> update 1 is not finite"}


def test_numbers_are_those_of_the_runs(done):
    output, _, _ = done
    rows = rows_of(output)
    assert [row["network"] for row in rows] == list(NAMES)
    for row in rows:
        run = Run(str(output / row["network"] / "model"))
        history, epoch = run.read_history(), int(row["judged_epoch"])
        best = max(history, key=lambda one: (float(one["val_rank1"]), -float(one["val_loss"])))
        assert epoch == int(best["epoch"]) and float(row["rank1"]) == float(best["val_rank1"])
        assert float(row["loss"]) == pytest.approx(float(best["val_loss"]), rel=1e-5)
        assert int(row["file_bytes"]) == run.params_path(epoch).stat().st_size
        arg, _ = params.split(params.read(run.params_path(epoch)), "")
        fixed = 3 if row["network"] == "resnet-8" else 0  # gammas of bn_data
        assert int(row["parameters"]) == sum(value.size for value in arg.values()) - fixed
        seconds = [float(one["seconds"]) for one in history]
        assert float(row["epochs_seconds"]) == pytest.approx(sum(seconds))
        assert float(row["first_epoch_seconds"]) == seconds[0]
        assert float(row["wall_seconds"]) > sum(seconds)
        memory = max(float(one["memory_mb"]) for one in history)
        assert int(row["peak_bytes"]) == round(1e6 * memory) > 10**8
        assert 0 < float(row["cpu_median_ms"]) <= float(row["cpu_99th_ms"])
        assert row["cpu_best_batch"] in ("1", "2") and float(row["cpu_images_per_second"]) > 0


def test_errors_by_class(done):
    output, _, _ = done
    for row in rows_of(output):
        run = Run(str(output / row["network"] / "model"))
        predictions = load(run.predictions_path(int(row["judged_epoch"])))
        wrong = predictions.labels != predictions.top[:, 0]
        every = rows_of(output, "classes.csv")
        classes = [one for one in every if one["network"] == row["network"]]
        assert [one["class"] for one in classes] == ["circle", "cross", "square"]
        for label, one in enumerate(classes):
            assert int(one["images"]) == 5
            assert int(one["false_negatives"]) == (wrong & (predictions.labels == label)).sum()
            assert int(one["false_positives"]) == (wrong & (predictions.top[:, 0] == label)).sum()


def test_a_network_that_fails_is_excluded_with_its_error(done):
    output, _, _ = done
    assert "the loss &lt;of&gt; update 1 is not finite" in (output / "compare.html").read_text()
    markdown = (output / "compare.md").read_text()
    assert "| mobilenet | the loss" in markdown
    assert "flags of one-stage-cnn: --lr 0.001 --train-fraction 0.5" in markdown


def test_a_second_run_trains_and_measures_nothing_again(done, packed, here, capsys):
    output, file, _ = done
    before_ns = {path: path.stat().st_mtime_ns for path in output.glob("*/model-*")}
    before = (output / "compare.csv").read_text()
    arguments = ["--networks", str(file), "--output", str(output), *QUICK, *common(packed)]
    assert compare.main(arguments) == 1  # one fails again
    printed = capsys.readouterr()
    assert [line for line in printed.out.splitlines() if line.endswith("training")] == [
        "[2/3] mobilenet: training"
    ]
    assert "mobilenet" in printed.err and "the loss <of> update" in printed.err
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/model-*")} == before_ns
    assert (output / "compare.csv").read_text() == before


def test_other_flags_or_images_need_another_training(done, packed, tmp_path):
    output, file, _ = done

    def is_trained(*more):
        arguments = [
            "--networks",
            str(file),
            "--output",
            str(output),
            *QUICK,
            *common(packed),
            *more,
        ]
        settings = flags.parse_or_raise(config.CompareSettings, arguments)
        candidates = find_candidates(
            settings, flags.unknown_arguments(config.ComparisonSettings, arguments)
        )
        return run_is_trained(candidates[0], check(candidates))

    assert is_trained()
    assert not is_trained("--num-epochs", "3")
    assert not is_trained("--wd", "0")
    assert not is_trained("--data-val", str(packed / "train.rec"))


def test_finished_runs(done, packed, tmp_path, capsys, here):
    output = tmp_path / "finished"
    shutil.copytree(done[0], output)
    prefixes = ",".join(str(output / name / "model") for name in NAMES)
    arguments = ["--runs", prefixes, "--output", str(tmp_path / "out"), *QUICK]
    assert compare.main(arguments) == 0
    assert ": training" not in capsys.readouterr().out
    for one, other in zip(rows_of(tmp_path / "out"), rows_of(output)):
        assert {**one, "flags": ""} == {**other, "flags": ""}
    arguments[1], stored = str(output / "resnet-8" / "model"), output / "resnet-8" / "compare.json"
    before = json.loads(stored.read_text())
    assert compare.main([*arguments, "--data-val", str(packed / "train.rec")]) == 0
    assert json.loads(stored.read_text())["measured"] == before["measured"]
    assert (
        compare.main([*arguments, "--data-val", str(packed / "train.rec"), "--measure-again"]) == 0
    )
    after = json.loads(stored.read_text())
    assert after["training"] == before["training"]
    assert after["measured"]["timings"] != before["measured"]["timings"]
    assert "60 of 3 classes" in (tmp_path / "out" / "compare.md").read_text()
    # Flags of the measurement are not ignored.
    assert compare.main([*arguments, "--data-val-idx", "none.idx"]) == 2
    assert "none.idx" in capsys.readouterr().err
    assert compare.main([*arguments, "--label-index", "1"]) == 2
    assert "label" in capsys.readouterr().err


def test_gpu_memory_comes_from_the_history(done, tmp_path):
    shutil.copytree(done[0] / "resnet-8", tmp_path / "resnet-8")
    run = Run(str(tmp_path / "resnet-8" / "model"))
    candidate = Candidate("resnet-8", "resnet-8", run, "")
    assert read_results(candidate).result.gpu_peak_bytes is None
    rows = [{**row, "gpu_memory_mb": 1000 * int(row["epoch"])} for row in run.read_history()]
    run.write_history(rows)
    assert read_results(candidate).result.gpu_peak_bytes == 2_000_000_000
    scored = read_stored(run)["scored"]
    run.predictions_path(scored["epoch"], scored["set"]).unlink()
    with pytest.raises(InputError, match=r"resnet-8: .*run the same command again"):
        read_results(candidate)


def test_interrupted_and_continued_it_ends_the_same(
    done, packed, tmp_path, capfd, no_plots, monkeypatch
):
    """With a real process for the training: the signal is forwarded to it, and it saves."""
    run_apart = child_process.run

    def training_apart(module, *rest, **more):
        run = run_apart if module == "imagenet_trainer.fit" else run_here
        return run(module, *rest, **more)

    monkeypatch.setattr(child_process, "run", training_apart)
    monkeypatch.setattr(measure, "_SECONDS", 0.0)
    arguments = ["--networks", "resnet-8", "--output", str(tmp_path), *QUICK, *common(packed)]
    arguments += ["--disp-batches", "1"]
    log, sent = tmp_path / "resnet-8" / "log.txt", []

    def interrupt():
        while not (log.exists() and "Epoch[0] Batch [1-" in log.read_text()):
            time.sleep(0.01)
        sent.append(os.kill(os.getpid(), signal.SIGTERM))

    # If the command fails early, the signal must not end the tests.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        assert compare.main(arguments) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent
    assert "run the same command again" in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "compare.html").exists()
    assert (tmp_path / "resnet-8" / "model-last.npz").exists()
    stored = json.loads((tmp_path / "resnet-8" / "compare.json").read_text())
    seconds = stored["training"]["seconds"]
    assert compare.main(arguments) == 0
    assert "resnet-8: continuing" in capfd.readouterr().err
    (row,) = rows_of(tmp_path)
    assert float(row["wall_seconds"]) > seconds
    assert 50e6 < int(row["peak_bytes"]) < 5e9
    continued, straight = (
        params.read(folder / "resnet-8" / "model-0002.params") for folder in (tmp_path, done[0])
    )
    for key in straight:
        np.testing.assert_array_equal(continued[key], straight[key], key)


def test_refused_before_anything_is_trained(packed, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["--networks", "resnet-8,resnet5", "--output", str(output), *common(packed)]
    assert compare.main(arguments) == 2
    assert "compare: error: --networks resnet5: " in capsys.readouterr().err
    arguments[1] = "resnet-8,vgg-11"  # too small images for the second
    assert compare.main(arguments) == 2
    assert "compare: error: vgg-11: " in capsys.readouterr().err
    arguments[1:2] = ["resnet-8", "--pretrained", "nowhere/model,3"]
    assert compare.main(arguments) == 2
    assert "compare: error: resnet-8: nowhere/model-0003.params: " in capsys.readouterr().err
    assert not output.exists()
    with pytest.raises(InputError, match=r"none\.rec"):
        compare(networks="resnet-8", data_train="none.rec")


def test_a_folder_that_cannot_be_created_is_refused_first(packed, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = ["--networks", "resnet-8", "--output", str(tmp_path / "file"), *common(packed)]
    assert compare.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and str(tmp_path / "file") in printed.err
    assert not printed.out


def test_errors_of_fit_name_the_flag_of_this_command(done, packed, tmp_path, capsys, here):
    shutil.copytree(done[0] / "resnet-8", tmp_path / "resnet-8")
    arguments = ["--networks", "resnet-8", "--output", str(tmp_path), *QUICK, *common(packed)]
    assert compare.main([*arguments, "--wd", "0"]) == 2
    excluded, error = capsys.readouterr().err.splitlines()
    assert "resnet-8" in excluded and "--wd 0" in excluded and error.startswith("compare: error: ")
    assert "--output" in excluded and "--model-prefix" not in excluded


def test_if_all_networks_fail(packed, tmp_path, here, capsys):
    arguments = ["--networks", "resnet-8", "--output", str(tmp_path), *common(packed), "--lr=1e9"]
    assert compare.main(arguments) == 2
    excluded, error = capsys.readouterr().err.splitlines()
    assert "resnet-8" in excluded and error.startswith("compare: error: ")
    assert "is not finite" in (tmp_path / "compare.html").read_text()
