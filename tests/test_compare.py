"""The command: networks trained, interrupted, continued, measured, compared."""

import csv
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
from imagenet_trainer.comparison import child_process as child
from imagenet_trainer.comparison import contest
from imagenet_trainer.comparison import measure as measuring
from imagenet_trainer.comparison.candidates import Entrant, check, entrants
from imagenet_trainer.comparison.results import entry_of, kept_of
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
    "imagenet_trainer.fit": fit.main, "imagenet_trainer.comparison.measure": measuring.main,
}  # fmt: skip


def run_here(module, words, interrupts, saves=False):
    """A command in this process, which saves importing MXNet in another one; one of them fails."""
    if "--lr=1e9" in words:
        return child.Ended(2, "the loss <of> update 1 is not finite", 1.0, 10**8)
    began = time.monotonic()
    code = COMMANDS[module](list(words))
    error = f"it ended with {code}" if code else ""
    return child.Ended(code, error, time.monotonic() - began, 10**8)


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(child, "run", run_here)


def flags_by_name(words):
    return {name[2:].replace("-", "_"): value for name, value in zip(words[::2], words[1::2])}


@pytest.fixture(scope="module")
def done(packed, tmp_path_factory):
    """Folder and result of a comparison of two networks and one that fails."""
    folder = tmp_path_factory.mktemp("compare")
    file = folder / "list.txt"
    file.write_text("resnet-8\nmobilenet --lr=1e9\none-stage-cnn --lr 0.001 --train-fraction 0.5\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "run", run_here)
        result = compare(networks=file, output=folder / "out",
                         **flags_by_name([*QUICK, *common(packed)]))  # fmt: skip
    return folder / "out", file, result


def rows_of(output, name="compare.csv"):
    with open(output / name, newline="") as file:
        return list(csv.DictReader(file))


def test_what_python_gets(done):
    output, _, result = done
    assert result["report"] == str(output / "compare.html")
    assert list(result["networks"]) == list(NAMES)
    assert result["networks"]["one-stage-cnn"]["train_images"] == 30
    assert result["advice"]["smallest"] == "resnet-8"
    assert result["failed"] == {"mobilenet": "the loss <of> update 1 is not finite"}


def test_the_numbers_are_those_of_the_runs(done):
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


def test_wrong_answers_by_class(done):
    output, _, _ = done
    for row in rows_of(output):
        run = Run(str(output / row["network"] / "model"))
        answers = load(run.answers_path(int(row["judged_epoch"])))
        wrong = answers.labels != answers.top[:, 0]
        every = rows_of(output, "classes.csv")
        classes = [one for one in every if one["network"] == row["network"]]
        assert [one["class"] for one in classes] == ["circle", "cross", "square"]
        for label, one in enumerate(classes):
            assert int(one["images"]) == 5
            assert int(one["false_negatives"]) == (wrong & (answers.labels == label)).sum()
            assert int(one["false_positives"]) == (wrong & (answers.top[:, 0] == label)).sum()


def test_a_network_that_fails_is_told_and_left_out(done):
    output, _, _ = done
    assert "the loss &lt;of&gt; update 1 is not finite" in (output / "compare.html").read_text()
    markdown = (output / "compare.md").read_text()
    assert "| mobilenet | the loss" in markdown
    assert "flags of its own: one-stage-cnn: --lr 0.001 --train-fraction 0.5" in markdown


def test_run_again_nothing_is_trained_or_measured_anew(done, packed, here, capsys):
    output, file, _ = done
    kept = {path: path.stat().st_mtime_ns for path in output.glob("*/model-*")}
    before = (output / "compare.csv").read_text()
    words = ["--networks", str(file), "--output", str(output), *QUICK, *common(packed)]
    assert compare.main(words) == 1  # one fails again
    told = capsys.readouterr()
    assert [line for line in told.out.splitlines() if line.endswith("training")] == [
        "[2/3] mobilenet: training"
    ]
    assert "compare: mobilenet is left out: the loss <of> update" in told.err
    assert {path: path.stat().st_mtime_ns for path in output.glob("*/model-*")} == kept
    assert (output / "compare.csv").read_text() == before


def test_other_flags_or_images_are_trained_for(done, packed, tmp_path):
    output, file, _ = done

    def is_trained(*more):
        words = ["--networks", str(file), "--output", str(output), *QUICK, *common(packed), *more]
        settings = flags.parse_or_raise(config.CompareSettings, words)
        found = entrants(settings, flags.unknown_arguments(config.ComparisonSettings, words))
        return contest.is_trained(found[0], check(found))

    assert is_trained()
    assert not is_trained("--num-epochs", "3")
    assert not is_trained("--wd", "0")
    assert not is_trained("--data-val", str(packed / "train.rec"))


def test_finished_runs(done, packed, tmp_path, capsys, here):
    output = tmp_path / "finished"
    shutil.copytree(done[0], output)
    prefixes = ",".join(str(output / name / "model") for name in NAMES)
    words = ["--runs", prefixes, "--output", str(tmp_path / "out"), *QUICK]
    assert compare.main(words) == 0
    assert ": training" not in capsys.readouterr().out
    for one, other in zip(rows_of(tmp_path / "out"), rows_of(output)):
        assert {**one, "flags": ""} == {**other, "flags": ""}
    words[1], kept = str(output / "resnet-8" / "model"), output / "resnet-8" / "compare.json"
    before = json.loads(kept.read_text())
    assert compare.main([*words, "--data-val", str(packed / "train.rec")]) == 0
    assert json.loads(kept.read_text())["measured"] == before["measured"]
    assert compare.main([*words, "--data-val", str(packed / "train.rec"), "--measure-again"]) == 0
    after = json.loads(kept.read_text())
    assert after["training"] == before["training"]
    assert after["measured"]["timings"] != before["measured"]["timings"]
    assert "60 of 3 classes" in (tmp_path / "out" / "compare.md").read_text()


def test_memory_of_gpus_comes_from_the_history(done, tmp_path):
    shutil.copytree(done[0] / "resnet-8", tmp_path / "resnet-8")
    run = Run(str(tmp_path / "resnet-8" / "model"))
    entrant = Entrant("resnet-8", "resnet-8", run, "")
    assert entry_of(entrant).entry.gpu_peak_bytes is None
    rows = [{**row, "gpu_memory_mb": 1000 * int(row["epoch"])} for row in run.read_history()]
    run.write_history(rows)
    assert entry_of(entrant).entry.gpu_peak_bytes == 2_000_000_000
    scored = kept_of(run)["scored"]
    run.answers_path(scored["epoch"], scored["set"]).unlink()
    with pytest.raises(InputError, match="another command scores it; run the same command again"):
        entry_of(entrant)


def test_interrupted_and_continued_it_ends_the_same(done, packed, tmp_path, capfd):
    """With real processes: the signal goes on to the training, which saves."""
    words = ["--networks", "resnet-8", "--output", str(tmp_path), *QUICK, *common(packed)]
    words += ["--disp-batches", "1"]
    log, sent = tmp_path / "resnet-8" / "log.txt", []

    def interrupt():
        while not (log.exists() and "Epoch[0] Batch [1-" in log.read_text()):
            time.sleep(0.01)
        sent.append(os.kill(os.getpid(), signal.SIGTERM))

    # Whatever goes wrong, the signal must not end the tests.
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        assert compare.main(words) == 128 + signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sent
    told = capfd.readouterr().err
    assert told.endswith("compare: interrupted; run the same command to continue\n")
    assert not (tmp_path / "compare.html").exists()
    assert (tmp_path / "resnet-8" / "model-last.npz").exists()
    seconds = json.loads((tmp_path / "resnet-8" / "compare.json").read_text())["training"][
        "seconds"
    ]
    assert compare.main(words) == 0
    assert "resnet-8: continuing" in capfd.readouterr().err
    (row,) = rows_of(tmp_path)
    assert float(row["wall_seconds"]) > seconds
    assert 50e6 < int(row["peak_bytes"]) < 5e9
    ours, theirs = (
        params.read(folder / "resnet-8" / "model-0002.params") for folder in (tmp_path, done[0])
    )
    for key in theirs:
        np.testing.assert_array_equal(ours[key], theirs[key], key)


def test_refused_before_anything_is_trained(packed, tmp_path, capsys):
    output = tmp_path / "out"
    words = ["--networks", "resnet-8,resnet5", "--output", str(output), *common(packed)]
    assert compare.main(words) == 2
    assert "compare: error: --networks resnet5: no such network" in capsys.readouterr().err
    words[1] = "resnet-8,vgg-11"  # too small images for the second
    assert compare.main(words) == 2
    assert "compare: error: vgg-11: " in capsys.readouterr().err
    words[1:2] = ["resnet-8", "--pretrained", "nowhere/model,3"]
    assert compare.main(words) == 2
    assert "compare: error: resnet-8: nowhere/model-0003.params: no such" in capsys.readouterr().err
    assert not output.exists()
    with pytest.raises(InputError, match=r"none\.rec: no such shard"):
        compare(networks="resnet-8", data_train="none.rec")


def test_a_folder_that_cannot_be_made_is_told_at_once(packed, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    words = ["--networks", "resnet-8", "--output", str(tmp_path / "file"), *common(packed)]
    assert compare.main(words) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "choose another place" in told.err and not told.out


def test_other_flags_for_a_begun_run_are_told_in_this_commands_words(done, packed, tmp_path, capfd):
    shutil.copytree(done[0] / "resnet-8", tmp_path / "resnet-8")
    words = ["--networks", "resnet-8", "--output", str(tmp_path), *QUICK, *common(packed)]
    assert compare.main([*words, "--wd", "0"]) == 2  # with a real process
    told = capfd.readouterr().err.splitlines()
    assert told[0].startswith("compare: resnet-8 is left out: --wd 0")
    assert "begin another run with --output" in told[0] and len(told) == 2


def test_when_none_is_left(packed, tmp_path, here, capsys):
    words = ["--networks", "resnet-8", "--output", str(tmp_path), *common(packed), "--lr=1e9"]
    assert compare.main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 2 and "none of 1 networks could be compared" in told
    assert "is not finite" in (tmp_path / "compare.html").read_text()
