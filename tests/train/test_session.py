import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.worker_threads import Threads

from imagenet_trainer.config import FitSettings
from imagenet_trainer.engines.workers import ALONE
from imagenet_trainer.errors import InputError
from imagenet_trainer.metrics.counts import Scores
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.files import write_json
from imagenet_trainer.train import agreement
from imagenet_trainer.train.schedule import Schedule
from imagenet_trainer.train.session import check_finite, open_session
from imagenet_trainer.train.setup import IMAGENET_STD
from imagenet_trainer.train.start_messages import _engine_messages


@pytest.fixture
def settings(packed, tmp_path):
    return FitSettings(
        network="resnet", num_layers=8, image_shape=(3, 16, 16), batch_size=8, num_epochs=4,
        lr=0.4, lr_step_epochs=(2.0, 3.0), warmup_epochs=0.5,
        data_train=str(packed / "train.rec"), data_val=str(packed / "val.rec"),
        model_prefix=str(tmp_path / "model"),
    )  # fmt: skip


@pytest.fixture
def opened(settings):
    """Open a session with some settings changed; one is open at a time."""
    sessions = []

    def open_one(**changed):
        while sessions:
            sessions.pop().close()
        sessions.append(open_session(replace(settings, **changed)))
        return sessions[-1]

    yield open_one
    while sessions:
        sessions.pop().close()


def test_rates_follow_the_flags(opened):
    session = opened()
    # 60 images in batches of 8: 7.5 updates an epoch, the tail opens the next one.
    assert [session.first_update(epoch) for epoch in range(5)] == [0, 7, 15, 22, 30]
    wanted = Schedule(base=0.4, factor=0.1, steps=(15, 22), warmup=3)
    for update in (0, 2, 8, 14, 15, 16, 22, 23, 29):
        assert session.learning_rate(update) == wanted.rate(update)
    assert session.learning_rate(8) == 0.4
    assert session.learning_rate(29) == pytest.approx(0.004)


def test_imagenet_augmentation_sets_the_standard_deviation(opened):
    session = opened(use_imagenet_data_augmentation=True)
    assert session.preprocessing.rgb_std == IMAGENET_STD
    assert session.settings.pca_noise == 0.1 and session.settings.brightness == 0.4
    assert opened(
        use_imagenet_data_augmentation=True, rgb_std=(2.0, 2.0, 2.0),
        model_prefix=str(session.run.folder / "other" / "model"),
    ).preprocessing.rgb_std == (2.0, 2.0, 2.0)  # fmt: skip


def test_files_written_before_the_first_update(opened, settings, packed):
    session = opened()
    session.run.save(session.checkpoint(session.progress), None)
    run = session.run
    config = run.read_json(run.config_path)
    assert config["settings"]["lr"] == 0.4 and config["data"]["train_images"] == 60
    assert config["versions"].keys() >= {"mxnet", "numpy", "opencv", "python"}
    manifest = json.loads((packed / "train.json").read_text())
    assert config["data"]["train"] == manifest["fingerprint"]
    assert "softmax" in run.read_symbol() and run.epochs() == []


def test_saved_and_opened_again(opened):
    session = opened()
    session.run.save(session.checkpoint(Progress(1, 7)), 1)
    arg, aux = session.engine.get_params()
    again = opened()
    assert (again.progress.epoch, again.progress.update) == (1, 7)
    for ours, theirs in zip(again.engine.get_params(), (arg, aux)):
        for name, value in theirs.items():
            np.testing.assert_array_equal(ours[name], value)
    assert "continuing" in again.messages[-1] and "after epoch 1, update 7" in again.messages[-1]


def test_a_compiler_is_announced(opened):
    # It is silent for a minute or more; nothing is compiled before the first update.
    pytest.importorskip("torch")
    notes = _engine_messages(FitSettings(engine="torch", compile="on"), ALONE, "")
    assert notes[0] == "engine: PyTorch (requested)"
    assert notes[1].startswith("the first update takes a minute")
    assert opened(engine="torch").messages[:1] == notes[:1]


def test_parameters_of_another_program_are_not_lost_before_the_first_checkpoint(opened, tmp_path):
    # A run that continues from them and ends without a checkpoint of its own starts there again.
    arg, aux = opened().engine.get_params()
    foreign = Run(str(tmp_path / "foreign" / "model"))
    foreign.folder.mkdir()
    arg = {name: value + 0.25 for name, value in arg.items()}
    foreign.params_path(2).write_bytes(params.dumps(params.join(arg, aux)))
    for _ in range(2):
        session = opened(model_prefix=foreign.prefix, load_epoch=2, lr=0.2)
        assert (session.progress.epoch, session.progress.update) == (2, 15)
        for name, value in session.engine.get_params()[0].items():
            np.testing.assert_array_equal(value, arg[name])


def test_history_after_the_checkpoint_is_dropped(opened):
    session = opened()
    session.run.save(session.checkpoint(Progress(1, 7)), 1)
    session.run.write_history([{"epoch": 1}, {"epoch": 2}])
    assert [row["epoch"] for row in opened().history] == ["1"]


def test_allowed_changes_are_logged(opened, settings):
    session = opened()
    session.run.save(session.checkpoint(session.progress), None)
    run = session.run
    config = run.read_json(run.config_path)
    write_json(run.config_path, {**config, "omp_num_threads": "97"})
    notes = opened().messages
    assert "omp_num_threads was 97" in notes[0]
    write_json(run.config_path, {**config, "decode": "gpu"})
    assert opened().messages[0].startswith("decode was gpu and is cpu: ")
    older = {name: value for name, value in config.items() if name != "decode"}
    write_json(run.config_path, older)
    assert not any("decode was" in note for note in opened().messages)


def test_another_version_of_pytorch_is_logged_where_it_trains(opened):
    pytest.importorskip("torch")
    session = opened(engine="torch")
    session.run.save(session.checkpoint(session.progress), None)
    run = session.run
    config = run.read_json(run.config_path)
    before = {**config, "versions": {**config["versions"], "torch": "1.0"}}
    write_json(run.config_path, before)
    note = opened(engine="torch").messages[0]
    assert note.startswith("versions was {'torch': '1.0'} and is {'torch': '")
    assert run.read_json(run.config_path) == config
    write_json(run.config_path, before)
    assert not any(note.startswith("versions") for note in opened(engine="mxnet").messages)
    assert "torch" not in run.read_json(run.config_path)["versions"]


@pytest.mark.parametrize("content", [{}, {"name": "another program's"}, {"settings": {}}])
def test_settings_of_another_program(opened, settings, content):
    run = Run(settings.model_prefix)
    write_json(run.config_path, content)
    if content:
        with pytest.raises(InputError, match=r"config.json: .*--model-prefix"):
            opened()
    else:
        opened()


@pytest.mark.parametrize("name", ["settings", "data", "versions"])
def test_a_config_with_a_damaged_part_is_refused(opened, name):
    session = opened()
    run = session.run
    run.save(session.checkpoint(session.progress), None)
    config = run.read_json(run.config_path)
    renamed = {f"{key}x": value for key, value in config[name].items()}
    for bad in [None, *([renamed] if name == "data" else [])]:
        write_json(run.config_path, {**config, name: bad})
        with pytest.raises(InputError, match=rf"config.json: .*{name}"):
            opened()


def test_a_refused_session_unlocks_the_run(opened):
    with pytest.raises(InputError, match=r"model-0003.params: no such checkpoint"):
        opened(load_epoch=3)
    opened()


def test_a_checkpoint_with_infinite_numbers_is_refused():
    check_finite({"w": np.ones(3)}, Progress(1, 7))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match=r"fc_bias is not finite after update 7; .*--lr"):
            check_finite({"w": np.ones(3), "fc_bias": np.array([0, bad])}, Progress(1, 7))


# --- what a longer run may change ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["poly", "cosine"])
def test_a_curve_fixes_the_number_of_epochs(opened, kind):
    session = opened(lr_schedule=kind)
    session.run.save(session.checkpoint(Progress(1, 7)), 1)
    opened(lr_schedule=kind)
    expected = f"--num-epochs 5: .* 4, .*--lr-schedule {kind}"
    with pytest.raises(InputError, match=expected):
        opened(lr_schedule=kind, num_epochs=5)


def test_a_step_schedule_allows_more_epochs(opened):
    session = opened()
    session.run.save(session.checkpoint(Progress(1, 7)), 1)
    assert opened(num_epochs=9).progress.update == 7


def test_a_run_of_an_older_version_continues(opened):
    session = opened()
    session.run.save(session.checkpoint(Progress(1, 7)), 1)
    config = session.run.read_json(session.run.config_path)
    for name in ("lr_schedule", "mixup", "find_lr_range", "lr_step_every", "ema"):
        del config["settings"][name]
    write_json(session.run.config_path, config)
    assert opened().progress.update == 7
    with pytest.raises(InputError, match=r"--mixup 0.2: .* with 0.0; "):
        opened(mixup=0.2)


# --- first values and averages -------------------------------------------------------------------


def test_residual_branches_start_at_zero(opened):
    arg, _ = opened(zero_last_gamma=True).engine.get_params()
    ends = [f"stage{stage}_unit1_conv2_weight" for stage in (1, 2, 3)]
    assert all(not arg[name].any() for name in ends)
    others = [name for name in arg if name.endswith("weight") and name not in ends]
    assert all(arg[name].any() for name in others)


def test_a_network_without_residual_branches(opened):
    with pytest.raises(InputError, match=r"--zero-last-gamma: squeezenet1.0 has no residual"):
        opened(network="squeezenet", num_layers=None, image_shape=(3, 32, 32), zero_last_gamma=True)


def test_the_average_is_validated_and_saved(opened):
    session = opened(ema=0.75)
    images = np.random.RandomState(0).randint(0, 256, (8, 16, 16, 3)).astype(np.uint8)
    for _ in range(4):
        session.engine.train_batch(images, np.arange(8) % 3, 0.1)
    trained, state = session.engine.get_params(), session.engine.get_state()
    average = state["average:arg:fc1_weight"]
    assert (average != trained[0]["fc1_weight"]).any()
    with session.evaluated_parameters():
        np.testing.assert_array_equal(session.engine.get_params()[0]["fc1_weight"], average)
    np.testing.assert_array_equal(session.engine.get_params()[0]["fc1_weight"],
                                  trained[0]["fc1_weight"])  # fmt: skip
    session.run.save(session.checkpoint(Progress(0, 4, Scores(32))), None)
    saved = session.run.load(None)
    np.testing.assert_array_equal(saved.arg["fc1_weight"], average)
    np.testing.assert_array_equal(saved.state["trained:arg:fc1_weight"], trained[0]["fc1_weight"])
    assert not [key for key in saved.state if key.startswith("average:")]
    again = opened(ema=0.75)
    for ours, theirs in zip(again.engine.get_params(), trained):
        for name, value in theirs.items():
            np.testing.assert_array_equal(ours[name], value)
    for key, value in state.items():
        np.testing.assert_array_equal(again.engine.get_state()[key], value)


@pytest.mark.parametrize(
    ("changed", "has_to_be_alike"),
    [
        ({"lr": 0.3}, True),
        ({"confusion_gif": True}, True),  # its counts are added up over the workers
        ({"on_nan": "rollback"}, True),  # all go back, or none
        ({"max_rollbacks": 1}, True),
        ({"top_k": 3}, True),  # its counts are added up too
        ({"monitor": 5}, True),  # as are its squares
        ({"loss": ("ce",)}, False),
    ],
)
def test_flags_that_must_be_equal_in_all_workers(opened, monkeypatch, changed, has_to_be_alike):
    compared = []
    monkeypatch.setattr(agreement, "check_equal", lambda value, *_: compared.append(repr(value)))
    opened()
    opened(**changed)
    flags, others = compared[0], compared[len(compared) // 2]
    assert (flags != others) is has_to_be_alike


def test_the_folder_of_the_run_must_be_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "_LOOKS", 1)
    monkeypatch.setattr(agreement.time, "sleep", lambda seconds: None)
    runs = [Run(str(tmp_path / name / "model")) for name in ("shared", "shared", "local")]
    for run in runs:
        run.folder.mkdir(exist_ok=True)

    def work(workers):
        agreement.check_shared(runs[workers.rank], workers)

    assert Threads(2).run(work) == [None, None]
    for run, error in zip(runs, Threads(3).run(work)):
        assert isinstance(error, InputError)
        assert str(error).startswith(f"worker 2 of 3 does not see {run.folder}, ")
    assert not [*tmp_path.glob("*/*"), *tmp_path.glob("*/.*")]


def test_the_classes_of_a_shard_without_manifest_are_logged(packed, opened, tmp_path):
    for name in ("train.rec", "train.idx", "val.rec", "val.idx"):
        shutil.copy(packed / name, tmp_path)
    places = {"data_train": str(tmp_path / "train.rec"), "data_val": str(tmp_path / "val.rec")}

    def messages(**flags):
        notes = opened(**places, model_prefix=str(tmp_path / "a" / "model"), **flags).messages
        return [line for line in notes if "no manifest" in line]

    assert "1000" in messages()[0] and "--num-classes" in messages()[0]
    assert not messages(num_classes=1000)
