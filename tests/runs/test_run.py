import argparse
import errno
import json
import os
import re
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.mutations import mutations

from imagenet_trainer.errors import InputError, TemporaryError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import (
    Checkpoint,
    Preprocessing,
    Progress,
    given_preprocessing,
    read_arrays,
)
from imagenet_trainer.runs.history import COLUMNS
from imagenet_trainer.runs.run import Run
from imagenet_trainer.runs.trained import newest_run
from imagenet_trainer.system import files
from imagenet_trainer.system.files import write_json

HOW = Preprocessing((3, 8, 8), (1.5, 2.5, 3.5), (1.0, 2.0, 3.0), 9, val_interp="pil-bilinear")
CLASSES = (("n01440764", "tench, Tinca tinca"), ("n01443537", "goldfish"))


def checkpoint(epoch, update, seed=0, **progress):
    random = np.random.default_rng(seed)
    return Checkpoint(
        {"w": random.standard_normal((3, 4)).astype(np.float32)},
        {"mean": random.standard_normal(3).astype(np.float32)},
        Progress(epoch, update, **progress),
        {"updates": np.array(update), "momentum:w": random.standard_normal((3, 4))},
        HOW,
        CLASSES,
    )


def assert_equal(ours, theirs):
    for kind in ("arg", "aux", "state"):
        mine, other = getattr(ours, kind), getattr(theirs, kind)
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            np.testing.assert_array_equal(value, other[name])
            assert value.dtype == other[name].dtype
    assert (ours.progress, ours.preprocessing, ours.classes) == (
        theirs.progress, theirs.preprocessing, theirs.classes
    )  # fmt: skip


def message(call, *arguments):
    """The error of a call: one line."""
    with pytest.raises(InputError) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def model(tmp_path):
    return Run(str(tmp_path / "model"))


class Crash(BaseException):
    """Not caught by any error handler, like the end of the process."""


def crash_at(monkeypatch, number, error=Crash):
    """Make the given os.replace and all later ones fail."""
    calls, real = [], os.replace

    def replace_or_crash(*paths):
        calls.append(paths)
        if len(calls) >= number:
            raise error(5, "Input/output error")
        real(*paths)

    monkeypatch.setattr(os, "replace", replace_or_crash)


# --- save and load --------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [3, None])
def test_a_checkpoint_survives_saving_and_loading(model, epoch):
    scores = Scores(40, 11, 23, 31.25)
    saved = checkpoint(3, 77, scores=scores, seconds=12.5, wait_seconds=0.1 + 0.2)
    model.save(saved, epoch)
    assert_equal(model.load(epoch), saved)
    assert_equal(Run(model.prefix).newest(), saved)


def test_a_run_begins_with_no_epoch_and_its_logits_as_they_are():
    assert (Progress().epoch, Progress().update, Progress().rate_scale) == (0, 0, 1)
    assert Checkpoint({}, {}, Progress()).temperature == 1


def test_parameters_are_in_mxnets_format(model):
    saved = checkpoint(1, 7)
    model.save(saved, 1)
    arrays = params.read(model.params_path(1))
    assert set(arrays) == {"arg:w", "aux:mean"}
    np.testing.assert_array_equal(arrays["arg:w"], saved.arg["w"])


def test_a_file_without_an_interpolation_means_the_first_one():
    first = replace(HOW, val_interp="bilinear")
    assert Preprocessing(HOW.image_shape, HOW.rgb_mean, HOW.rgb_std, 9) == first
    for how, is_named in ((first, False), (HOW, True)):
        assert ("val_interp" in how.as_dict()) == is_named
        assert Preprocessing.of_dict(json.loads(json.dumps(how.as_dict()))) == how
    assert given_preprocessing(argparse.Namespace(val_resize=9, bgr=None)) == {"val_resize": 9}


def test_the_minival_selects_the_best_epoch(model):
    validation, minival = Scores(40, 11, 23, 31.25), Scores(20, 9, 15, 12.5)
    for epoch, kept in enumerate((None, minival), 1):
        model.save(replace(checkpoint(epoch, 7), validation=validation, minival=kept), epoch)
    assert model.selection() == {1: validation, 2: minival}
    model.params_path(1).unlink()
    model.remove(1)  # which was interrupted after the first file
    assert model.selection() == {2: minival}


def test_a_state_without_momentum(model):
    saved = replace(checkpoint(1, 7), state={"updates": np.array(7)})
    model.save(saved, 1)
    assert_equal(model.load(1), saved)


def test_epochs_by_file_name(model, tmp_path):
    for name in ("model-0002", "model-0010", "model-12345", "model-last", "other-0001", "model-7"):
        (tmp_path / f"{name}.params").write_bytes(b"x")
    (tmp_path / "model-0003.params.new").write_bytes(b"x")
    (tmp_path / "model-0004.params").touch()  # without content
    assert model.epochs() == [2, 10, 12345]
    assert model.params_path(7).name == "model-0007.params"
    assert Run(str(tmp_path / "nowhere" / "model")).epochs() == []


def test_the_newest_checkpoint_has_the_most_updates(model):
    assert model.newest() is None
    model.save(checkpoint(1, 7), 1)
    model.save(checkpoint(1, 9), None)
    assert model.newest().progress.update == 9
    model.save(checkpoint(2, 14), 2)
    assert model.newest().progress.update == 14
    # An epoch without updates is newer, too.
    model.save(checkpoint(3, 14), None)
    assert model.newest().progress.epoch == 3


@pytest.mark.parametrize("suffix", ["params", "npz"])
def test_an_empty_file_is_passed_over(model, suffix):
    model.save(checkpoint(1, 7), 1)
    model.save(checkpoint(2, 14), 2)
    path = model.folder / f"model-0002.{suffix}"
    path.write_bytes(b"")
    assert model.newest().progress.update == 7
    assert model.empty_files() == [path.name]
    model.save(checkpoint(2, 14), 2)
    assert model.newest().progress.update == 14 and model.empty_files() == []


def test_a_missing_checkpoint(model):
    assert "none" in message(model.load, 4)
    model.save(checkpoint(1, 7), 1)
    assert re.search(r"model-0004\.params: .* epoch 1$", message(model.load, 4))
    model.save(checkpoint(2, 14), 2)
    assert "epochs 1 to 2" in message(model.load, 4)
    model.save(checkpoint(7, 49), 7)
    assert "epochs 1, 2, 7" in message(model.load, 4)


# --- crashes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, None])
def test_a_crash_before_the_first_rename_keeps_the_old_checkpoint(model, monkeypatch, epoch):
    old = checkpoint(1, 7)
    model.save(old, epoch)
    with monkeypatch.context() as patch:
        crash_at(patch, 1)
        with pytest.raises(Crash):
            model.save(checkpoint(1, 9, seed=1), epoch)
    assert_equal(model.load(epoch), old)
    assert_equal(model.newest(), old)


@pytest.mark.parametrize("epoch", [1, None])
@pytest.mark.parametrize("exists", [True, False])
def test_a_crash_between_the_renames_is_repaired(model, monkeypatch, epoch, exists):
    new = checkpoint(1, 9, seed=1)
    if exists:
        model.save(checkpoint(1, 7), epoch)
    with monkeypatch.context() as patch:
        crash_at(patch, 2)
        with pytest.raises(Crash):
            model.save(new, epoch)
    assert_equal(Run(model.prefix).newest(), new)
    assert_equal(model.load(epoch), new)
    names = {model.params_path(epoch).name, model.state_path(epoch).name}
    assert set(os.listdir(model.folder)) == names


def test_a_failed_second_rename_is_repaired(model, monkeypatch):
    model.save(checkpoint(1, 7), None)
    new = checkpoint(1, 9, seed=1)
    with monkeypatch.context() as patch:
        crash_at(patch, 2, OSError)
        assert "Input/output error" in message(model.save, new, None)
    assert_equal(model.newest(), new)


@pytest.mark.parametrize("at", [1, 2])
def test_a_full_disk_keeps_the_older_checkpoint(model, monkeypatch, at):
    old = checkpoint(1, 7)
    model.save(old, None)
    before = sorted(os.listdir(model.folder))
    calls, real = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        text = message(model.save, checkpoint(1, 9, seed=1), None)
    assert "model-last.params: No space left on device" in text and "run the same command" in text
    assert sorted(os.listdir(model.folder)) == before
    assert_equal(model.load(None), old)


def test_both_files_are_synced_before_the_first_rename(model, monkeypatch):
    done = []

    def fsync(file):
        whole = stat.S_ISDIR(os.fstat(file).st_mode) or os.fstat(file).st_size > 100
        done.append("fsync" if whole else "fsync of nothing")

    monkeypatch.setattr(os, "fsync", fsync)
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), real(*paths)))
    model.save(checkpoint(1, 7), 1)
    assert done == ["fsync", "fsync", "replace", "replace", "fsync"]


def test_a_checkpoint_of_which_the_file_system_does_not_say_is_not_passed_over(model, monkeypatch):
    model.save(checkpoint(1, 7), 1)
    model.save(checkpoint(2, 14), 2)
    real = Path.stat

    def stat(path, **more):
        if path.name == "model-0002.params":
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, **more)

    monkeypatch.setattr(Path, "stat", stat)
    assert "model-0002.params: Stale file handle" in message(model.newest)


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.EIO, TemporaryError), (errno.EACCES, InputError)]
)
def test_a_state_that_cannot_be_read_is_not_damaged(model, monkeypatch, code, kind):
    model.save(checkpoint(1, 7), 1)

    def fail(*arguments, **more):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "load", fail)
    for read in (model.load, model.preprocessing):
        with pytest.raises(kind, match=f"model-0001.npz: {os.strerror(code)}") as caught:
            read(1)
        assert "remove it" not in str(caught.value)
    assert model.progress() is None and model.selection() == {1: None}


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("suffix", [".params", ".npz"])
def test_truncated_files(model, suffix, share):
    model.save(checkpoint(1, 7), 1)
    path = model.folder / f"model-0001{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    for call in (lambda: model.load(1), model.newest):
        text = message(call)
        assert path.name in text and "damaged" in text
        assert "earlier checkpoint" in text or "--load-epoch" in text


@pytest.mark.parametrize("suffix", [".params", ".npz"])
def test_any_changed_byte_is_detected_or_harmless(model, suffix):
    saved = checkpoint(1, 7)
    model.save(saved, 1)
    path = model.folder / f"model-0001{suffix}"
    data = path.read_bytes()
    detected = 0
    for position in range(0, len(data), 5):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x49]) + data[position + 1 :])
        try:
            loaded = model.load(1)
        except InputError as error:
            detected += 1
            assert "model-0001." in str(error)
        else:  # an unused byte of the archive, such as a date
            assert suffix == ".npz"
            assert_equal(loaded, saved)
    assert detected > 0.8 * len(range(0, len(data), 5))


def test_files_of_two_checkpoints_do_not_match(model):
    model.save(checkpoint(1, 7), 1)
    other = Run(str(model.folder / "other"))
    other.save(checkpoint(1, 7, seed=1), 1)
    os.replace(other.params_path(1), model.params_path(1))
    text = message(model.load, 1)
    assert "model-0001.params: " in text and "model-0001.npz" in text
    assert "--load-epoch" in text


@pytest.mark.parametrize("key", ["about", "state/momentum:w", "unknown"])
def test_pickles_are_refused(model, key):
    model.save(checkpoint(1, 7), 1)
    path = model.state_path(1)
    arrays = read_arrays(path)
    ran = []

    class Bomb:
        def __reduce__(self):
            return ran.append, (1,)

    arrays[key] = np.array([Bomb()], object)
    np.savez(path, **arrays)
    assert "model-0001.npz: is damaged" in message(model.load, 1)
    assert not ran


def test_an_npz_that_is_not_a_checkpoint(model):
    model.save(checkpoint(1, 7), 1)
    for arrays in ({"x": np.ones(3)}, {"about": np.array("[1]")}, {"about": np.array("{}")}):
        np.savez(model.state_path(1), **arrays)
        assert "model-0001.npz: is damaged" in message(model.load, 1)


def test_parameters_that_are_not_a_checkpoint(model):
    model.params_path(1).write_bytes(params.dumps({"w": np.ones(3, np.float32)}))
    assert "model-0001.params: is not a checkpoint" in message(model.load, 1)


# --- checkpoints of other programs ----------------------------------------------------------------


def write_foreign(model, epoch):
    arrays = params.join(checkpoint(0, 0).arg, {})
    model.params_path(epoch).write_bytes(params.dumps(arrays))


def test_parameters_of_another_program(model):
    write_foreign(model, 5)
    loaded = model.load(5)
    assert loaded.progress == Progress(5, 0, Scores(), 0.0, 0.0, 1.0, 0)
    assert model.preprocessing(5) is None
    assert loaded.state == {} and loaded.preprocessing is None and loaded.classes == ()
    np.testing.assert_array_equal(loaded.arg["w"], checkpoint(0, 0).arg["w"])


def test_a_run_does_not_start_over_parameters_of_another_program(model):
    write_foreign(model, 5)
    assert model.own_checkpoints() == []
    # Also if a run that continued from them ended before its first checkpoint.
    for _ in range(2):
        text = message(model.newest)
        assert "--load-epoch 5" in text and "--model-prefix" in text
        write_json(model.config_path, {"settings": {"load_epoch": 5}})
    model.save(checkpoint(6, 42), None)
    assert model.newest().progress.epoch == 6


# --- --load-epoch ---------------------------------------------------------------------------------


def test_go_back_to_makes_an_epoch_the_newest(model):
    model.save(checkpoint(1, 7), 1)
    model.save(checkpoint(1, 9), None)
    gone_back = model.go_back_to(1).progress
    assert gone_back.update == 7
    assert model.newest().progress.update == 9  # nothing is removed before the run starts
    model.forget_last_beyond(gone_back)
    assert model.newest().progress.update == 7
    assert sorted(os.listdir(model.folder)) == ["model-0001.npz", "model-0001.params"]


def test_go_back_to_is_refused_while_there_are_later_epochs(model):
    for epoch in (1, 2, 3):
        model.save(checkpoint(epoch, 7 * epoch), epoch)
    model.save(checkpoint(3, 25), None)
    text = message(model.go_back_to, 1)
    assert "load_epoch 1" in text and "epochs 2 to 3" in text and "move" in text
    assert "no such checkpoint" in message(model.go_back_to, 4)
    assert model.newest().progress.update == 25


# --- finding a run --------------------------------------------------------------------------------


def test_the_newest_run_has_the_most_recent_parameters(tmp_path):
    for seconds, name in ((300, "a"), (500, "b-c"), (400, "d")):
        one = Run(str(tmp_path / name / "my-model"))
        one.folder.mkdir()
        one.save(checkpoint(1, 7), 1)
        os.utime(one.params_path(1), (seconds, seconds))
    newest = newest_run(str(tmp_path))
    assert newest.prefix == str(tmp_path / "b-c" / "my-model")
    os.utime(tmp_path / "d" / "my-model-0001.params", (600, 600))
    assert newest_run(str(tmp_path)).folder.name == "d"


def test_without_runs(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    text = message(newest_run, str(tmp_path))
    assert "imagenet_trainer.fit" in text and "--model-prefix" in text
    monkeypatch.chdir(tmp_path)
    assert message(newest_run).startswith("runs/: has no trained network")
    begun = Run(str(tmp_path / "runs" / "begun" / "model"))
    begun.folder.mkdir(parents=True)
    begun.save(checkpoint(0, 7), None)
    assert message(newest_run).startswith("runs/: runs/begun has no finished epoch; train")


# --- the other files ------------------------------------------------------------------------------


def test_history_as_parquet_equals_the_csv_file(model):
    pytest.importorskip("pyarrow")
    rows = [
        {**dict.fromkeys(COLUMNS, "0.1"), "epoch": "1", "gpu_watts": ""},  # as it was read
        {**dict.fromkeys(COLUMNS, 1 / 3), "epoch": 2, "gpu_watts": None, "wait_share": 0},
    ]
    model.folder.mkdir(parents=True, exist_ok=True)
    model.write_history(rows, as_parquet=True)
    table = pd.read_parquet(model.history_parquet_path)
    assert table["epoch"].dtype == "int64" and tuple(table.columns) == COLUMNS
    pd.testing.assert_frame_equal(table, pd.read_csv(model.history_path))


def test_history_survives_writing_and_reading(model):
    assert model.read_history() == []
    rows = [
        {name: 0.1 + number for number, name in enumerate(COLUMNS)} | {"epoch": 1},
        {"epoch": 2, "train_loss": 1 / 3},
    ]
    model.write_history(rows)
    assert model.history_path.read_text().splitlines()[0] == ",".join(COLUMNS)
    read = model.read_history()
    assert [row["epoch"] for row in read] == ["1", "2"]
    assert float(read[1]["train_loss"]) == 1 / 3 and read[1]["seconds"] == ""
    model.write_history(read)
    assert model.read_history() == read


def test_a_history_of_an_older_version_is_continued(model):
    old = COLUMNS[:11]
    assert old[-1] == "wait_share" and len(COLUMNS) > 11
    model.history_path.write_text(",".join(old) + "\n" + ",".join(["1", *["0.5"] * 10]) + "\n")
    rows = model.read_history()
    model.write_history([*rows, {"epoch": 2, "cpu_percent": 190.0}])
    first, second = model.read_history()
    assert first["val_rank1"] == "0.5" and first["cpu_percent"] == ""
    assert second["epoch"] == "2" and second["cpu_percent"] == "190.0"


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe\x00rubbish,\n1",
        b"epoch,loss\n1,0.5\n",
        b"%s\nx,1\n",
        b"%s\n,\n",
        b"%s\n" + b"1" * 200_000,
        b"%s\n1" + b",0.5" * 16 + b"\n2" + b",0.5" * 16,  # cut in the last number
        b"%s\n1" + b",0.5" * 16 + b"\n2" + b",0.5" * 7 + b"\n",
        b"%s\n1" + b",0.5" * 15 + b",0.\x005\n",
        b"%s\n1,0.5,half" + b",0.5" * 14 + b"\n",
        b"%s\n1.5" + b",0.5" * 16 + b"\n",
    ],
)
def test_a_damaged_or_foreign_history(model, text):
    header = ",".join(COLUMNS).encode()
    model.history_path.write_bytes(text.replace(b"%s", header))
    text = message(model.read_history)
    assert "history.csv: " in text and "move it away" in text


def test_json_survives_writing_and_reading(model):
    assert model.read_json(model.config_path) == {}
    write_json(model.config_path, {"settings": {"lr": 0.1}, "list": [1, 2]})
    assert model.read_json(model.config_path) == {"settings": {"lr": 0.1}, "list": [1, 2]}


@pytest.mark.parametrize("text", ["", "{", '{"a": 1', "[1, 2]", "3"])
def test_damaged_json(model, text):
    model.config_path.write_text(text)
    assert "config.json: " in message(model.read_json, model.config_path)


def test_a_missing_symbol(model):
    text = message(model.read_symbol)
    assert "model-symbol.json" in text and "imagenet_trainer.fit" in text
    model.write_symbol('{"nodes": []}')
    assert model.read_symbol() == '{"nodes": []}'


# --- the folder -----------------------------------------------------------------------------------


def test_one_training_at_a_time(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    first, second = (Run(str(tmp_path / "new" / "deep" / "model")) for _ in range(2))
    first.open_for_training()
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    text = message(second.open_for_training)
    assert "another process is training" in text and "launch.py" not in text
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")  # mpirun -n 4 python -m imagenet_trainer.fit
    assert "python tools/launch.py -n 4 before the command" in message(second.open_for_training)
    first.close()
    second.open_for_training()
    second.close()
    second.close()


def test_a_killed_training_leaves_no_lock(tmp_path):
    program = (
        "import os, sys; from imagenet_trainer.runs.run import Run;"
        "Run(sys.argv[1]).open_for_training(); os._exit(9)"
    )
    prefix = str(tmp_path / "model")
    assert subprocess.run([sys.executable, "-c", program, prefix], check=False).returncode == 9
    mine = Run(prefix)
    mine.open_for_training()
    mine.close()


def test_a_read_only_folder(model, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    text = message(model.open_for_training)
    assert "is read-only" in text and "--model-prefix" in text


def test_history_on_a_full_disk(model, monkeypatch):
    model.write_history([{"epoch": 1}])

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        assert "history.csv: No space left" in message(model.write_history, [{"epoch": 2}])
    assert [row["epoch"] for row in model.read_history()] == ["1"]
    assert os.listdir(model.folder) == ["history.csv"]


def test_a_prefix_that_names_a_folder_or_a_file(tmp_path):
    made = Run(str(tmp_path / "a" / "model"))
    made.open_for_training()
    made.save(checkpoint(1, 1), 1)
    made.symbol_path.write_text("{}")
    made.close()
    for prefix in (f"{tmp_path}/a", f"{tmp_path}/a/"):
        assert Run(prefix).misnamed().endswith(f": {made.prefix}")
        with pytest.raises(InputError, match=r"^model_prefix .*/a/?: .*folder.*a/model$"):
            Run(prefix).open_for_training()
        with pytest.raises(InputError, match=r"folder.*a/model$"):
            Run(prefix).read_symbol()
    for name in ("model-0001.params", "model-last.npz", "model.params"):
        text = Run(str(tmp_path / "a" / name)).misnamed()
        assert "file" in text and text.endswith(f": {made.prefix}")
    assert made.misnamed() == Run(str(tmp_path / "b" / "model")).misnamed() == ""
    assert Run(f"{tmp_path}/new/").misnamed().endswith(f": {tmp_path}/new/model")


def test_wrong_values_in_a_checkpoint_are_one_line(model):
    model.save(replace(checkpoint(1, 7), validation=Scores(40, 11, 23, 31.25)), 1)
    path = model.state_path(1)
    arrays = read_arrays(path)
    about = json.loads(str(arrays["about"]))
    refused = 0
    about_newer = {**about, "progress": {**about["progress"], "from_the_future": 1}}
    for _, changed in [("", about_newer), *mutations(about)]:
        np.savez(path, **{**arrays, "about": np.array(json.dumps(changed))})
        for read in (model.load, model.preprocessing):
            try:
                read(1)
            except InputError as error:
                refused += 1
                assert str(path) in str(error) or str(model.params_path(1)) in str(error)
        assert all(one is None or one.merit + 1 != 1 for one in model.selection().values())
    assert refused > 400


def test_wrong_values_in_the_configuration_are_one_line(model):
    for content in (
        [], {"settings": []}, {"settings": {"train_fraction": "x"}}, {"settings": {"data_val": 5}},
        {"data": {"val": 1}}, {"data": {"train_images": "many"}},
    ):  # fmt: skip
        write_json(model.config_path, content)
        assert "was not written by this program" in message(model.read_json, model.config_path)


def test_a_history_of_text_is_damaged(model):
    row = dict.fromkeys(COLUMNS, "0.5")
    model.write_history([{**row, "epoch": "1"}])
    assert len(model.read_history()) == 1
    model.write_history([{**row, "epoch": "1", "val_loss": "low"}])
    assert "history.csv: is damaged" in message(model.read_history)
