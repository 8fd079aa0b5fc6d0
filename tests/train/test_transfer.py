import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_records
from helpers.fit_runs import assert_same, default_engine

from imagenet_trainer import assets, fit, symbols
from imagenet_trainer.config import FitSettings
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.engines import NonFiniteLossError
from imagenet_trainer.engines.mxnet.arrays import to_symbol
from imagenet_trainer.errors import InputError
from imagenet_trainer.runs import params
from imagenet_trainer.runs.run import Run
from imagenet_trainer.system.mxnet_import import mx
from imagenet_trainer.train.initializers import initial_parameters
from imagenet_trainer.train.session import open_session
from imagenet_trainer.train.transfer import default_prefix

SHIPPED = assets.path("fashion_mnist_small.npz")
PULLOVER, COAT = 2, 4


def write_fashion(path, part, classes, per_class):
    """Fashion-MNIST images of some classes as a shard; labels count in the order given."""
    with np.load(SHIPPED) as shipped:
        labels, images = shipped[f"{part}_labels"], shipped[f"{part}_images"]
    payloads = [
        pack_header(float(new), int(row)) + cv2.imencode(".png", images[row])[1].tobytes()
        for new, label in enumerate(classes)
        for row in np.flatnonzero(labels == label)[:per_class]
    ]
    write_records(path, payloads)


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    return trained_on_eight(tmp_path_factory.mktemp("fashion"), 16, 10)


def trained_on_eight(folder, images, validated):
    """Shards eight-*.rec without pullovers and coats, two-*.rec of these; a run on the eight.

    `images` of each of the eight classes, and `validated` of each of the two.
    """
    others = [label for label in range(10) if label not in (PULLOVER, COAT)]
    for part, many, few in (("train", images, 40), ("val", 10, validated)):
        write_fashion(folder / f"eight-{part}.rec", part, others, many)
        write_fashion(folder / f"two-{part}.rec", part, (PULLOVER, COAT), few)
    words = ["--batch-size", "32", "--num-epochs", "3", "--lr", "0.05", "--lr-step-epochs", "2"]
    network = ["--network", "resnet", "--num-layers", "8", "--image-shape", "3,28,28"]
    assert train(folder, "eight", folder / "eight" / "model", *network, *words) == 0
    return folder


def train(folder, data, prefix, *more):
    shards = [
        "--data-train", str(folder / f"{data}-train.rec"), "--data-val",
        str(folder / f"{data}-val.rec"), "--num-classes", {"eight": "8", "two": "2"}[data],
    ]  # fmt: skip
    crop = ["--random-resized-crop", "0", "--random-crop", "1", "--pad-size", "2"]
    return fit.main([*shards, *crop, "--model-prefix", str(prefix), *map(str, more)])


TUNE = ("--batch-size", "16", "--num-epochs", "3", "--lr", "0.02", "--lr-step-epochs", "2")


def rank1(prefix):
    with open(Path(prefix).parent / "history.csv", newline="") as file:
        return [float(row["val_rank1"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_features_of_eight_classes_help_with_the_two_others(tmp_path):
    # 15 updates on 80 images. Five seeds gave 65 to 75 % with pretrained parameters and 50 to 56 %
    # from scratch; the smallest difference was 13 points. A run is the same each time.
    fashion = trained_on_eight(tmp_path, 80, 100)
    tuned, fresh = tmp_path / "tuned" / "model", tmp_path / "fresh" / "model"
    network = ["--network", "resnet", "--num-layers", "8", "--image-shape", "3,28,28"]
    assert train(fashion, "two", tuned, *TUNE, "--pretrained", f"{fashion}/eight/model,3") == 0
    assert train(fashion, "two", fresh, *TUNE, *network) == 0
    assert rank1(tuned)[-1] - rank1(fresh)[-1] > 0.08


# --- what a run begins with ----------------------------------------------------------------------


@pytest.fixture
def settings(fashion, tmp_path):
    return FitSettings(
        pretrained=(f"{fashion}/eight/model", 3), data_train=str(fashion / "two-train.rec"),
        data_val=str(fashion / "two-val.rec"), num_classes=2, batch_size=16, num_epochs=2, lr=0.02,
        model_prefix=str(tmp_path / "run" / "model"), random_resized_crop=False,
    )  # fmt: skip


@pytest.fixture
def opened():
    sessions = []

    def open_one(settings):
        while sessions:
            sessions.pop().close()
        sessions.append(open_session(settings))
        return sessions[-1]

    yield open_one
    while sessions:
        sessions.pop().close()


def numbers(session):
    arg, aux = session.engine.get_params()
    return {**arg, **aux}


def assert_begins_with(session, arrays, new):
    """All numbers are those of the arrays, but for the new parameters."""
    ours = numbers(session)
    assert set(new) <= set(ours)
    for name, value in ours.items():
        if name in new:
            assert value.shape[0] == 2
        else:
            np.testing.assert_array_equal(value, arrays[name].astype(np.float32), name)


def test_from_a_run_of_fit(settings, opened, fashion):
    session = opened(settings)
    old = Run(f"{fashion}/eight/model").load(3)
    assert_begins_with(session, {**old.arg, **old.aux}, ["fc1_weight", "fc1_bias"])
    # Images are prepared as there, the network is that one.
    assert session.preprocessing == old.preprocessing
    assert session.preprocessing.image_shape == (3, 28, 28)
    notes = "\n".join(session.messages)
    assert "fc1_weight, fc1_bias are new" in notes
    assert "the network of " in notes and "resnet-50" not in notes  # which --network stands for
    assert "as in its training: --image-shape 3,28,28; --rgb-mean 123.68,116.779,103.939" in notes
    again = mx.sym.load_json(session.run.read_symbol())
    assert again.list_arguments() == symbols.get_symbol("resnet8", 2, (3, 28, 28)).list_arguments()


def test_the_best_of_a_run(settings, opened, fashion):
    from imagenet_trainer.config.values import BEST
    from imagenet_trainer.runs.retention import best_epoch

    old = Run(f"{fashion}/eight/model")
    best = old.load(best_epoch(old))
    session = opened(replace(settings, pretrained=(old.prefix, BEST)))
    assert_begins_with(session, {**best.arg, **best.aux}, ["fc1_weight", "fc1_bias"])


def test_a_given_flag_wins(settings, opened):
    session = opened(replace(settings, rgb_mean=(1.0, 2.0, 3.0)))
    assert session.preprocessing.rgb_mean == (1.0, 2.0, 3.0)
    assert session.preprocessing.image_shape == (3, 28, 28)


@pytest.fixture
def published(tmp_path):
    """A checkpoint as MXNet's scripts leave it, in float16: prefix, its arrays by name."""
    symbol = symbols.get_symbol("resnet8", 1000, (3, 28, 28))
    shapes, _, aux_shapes = symbol.infer_shape(data=(1, 3, 28, 28))
    named = dict(zip(symbol.list_arguments(), shapes))
    for name in ("data", "softmax_label"):
        named.pop(name)
    aux_named = dict(zip(symbol.list_auxiliary_states(), aux_shapes))
    arg, aux = initial_parameters(named, aux_named, "xavier", 9)
    arg = {name: value + np.float32(0.01) for name, value in arg.items()}
    prefix = str(tmp_path / "published" / "resnet-8")
    Path(prefix).parent.mkdir()
    half = [
        {n: mx.nd.array(v).astype("float16") for n, v in arrays.items()} for arrays in (arg, aux)
    ]
    mx.model.save_checkpoint(prefix, 0, to_symbol(symbol), *half)
    return prefix, {n: v.asnumpy() for arrays in half for n, v in arrays.items()}


def test_from_a_published_checkpoint(settings, opened, published):
    prefix, arrays = published
    foreign = replace(
        settings, pretrained=(prefix, 0), image_shape=(3, 28, 28), rgb_mean=(0.0, 0.0, 0.0)
    )
    session = opened(foreign)
    assert_begins_with(session, arrays, ["fc1_weight", "fc1_bias"])
    assert session.preprocessing.rgb_mean == (0.0, 0.0, 0.0)
    assert any("by the flags" in note for note in session.messages)
    # With the classifier after a layer, as fine-tune.py names it.
    elsewhere = str(session.run.folder / "other" / "model")
    session = opened(replace(foreign, layer_before_fullc="flatten0", model_prefix=elsewhere))
    assert_begins_with(session, arrays, ["fc_weight", "fc_bias"])
    # Without its symbol, for a network that is named.
    Path(f"{prefix}-symbol.json").unlink()
    elsewhere = str(session.run.folder / "third" / "model")
    session = opened(replace(foreign, network="resnet8", model_prefix=elsewhere))
    assert_begins_with(session, arrays, ["fc1_weight", "fc1_bias"])


def test_from_gluon(settings, opened, tmp_path):
    # `export` is how GluonCV's zoo becomes a symbol and its parameters.
    net = mx.gluon.model_zoo.vision.mobilenet0_25(classes=10, prefix="net_")
    net.initialize(mx.init.Xavier())
    net.hybridize()
    before = net(mx.nd.ones((1, 3, 32, 32))).asnumpy()
    net.export(str(tmp_path / "mobilenet"), 7)
    arrays = {p.name: p.data().asnumpy() for p in net.collect_params().values()}
    wd = replace(
        settings, pretrained=(str(tmp_path / "mobilenet"), 7), image_shape=(3, 32, 32), wd=0.0
    )
    session = opened(wd)
    assert before.shape == (1, 10)
    assert_begins_with(session, arrays, ["net_dense0_weight", "net_dense0_bias"])
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    session.engine.train_batch(images, np.arange(16) % 2, 0.01)
    probabilities = session.engine.predict(images)
    assert probabilities.shape == (16, 2) and np.isfinite(probabilities).all()
    # Its factors for weight decay (1 for every parameter) do not reach the optimizer.
    multipliers = session.engine._module._optimizer.wd_mult
    assert multipliers["net_dense0_bias"] == 0.0


def test_new_parameters_depend_on_the_seed_alone(settings, opened):
    first = numbers(opened(settings))["fc1_weight"]
    other = replace(settings, model_prefix=settings.model_prefix.replace("run", "other"))
    np.testing.assert_array_equal(first, numbers(opened(other))["fc1_weight"])
    assert (first != numbers(opened(replace(other, seed=1)))["fc1_weight"]).any()


# --- what moves ----------------------------------------------------------------------------------


def after_one_update(session):
    before = numbers(session)
    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28, 3), np.uint8)
    session.engine.train_batch(images, np.arange(16) % 2, 0.02)
    after = numbers(session)
    return {name: after[name] - before[name] for name in before}


def test_frozen_parameters_do_not_move(settings, opened):
    session = opened(replace(settings, freeze="(?!fc1|bn1_|stage3)"))
    for name, change in after_one_update(session).items():
        moves = name.startswith(("fc1", "stage3", "bn1_")) and name != "stage3_fixed"
        assert change.any() == moves, name
    shapes = {n: v.shape for n, v in session.engine.get_params()[0].items()}
    still = [name for name in shapes if not name.startswith(("fc1", "stage3", "bn1_"))]
    sizes = [sum(int(np.prod(shapes[n])) for n in names) for names in (still, shapes)]
    wanted = (
        f"{len(still)} of {len(shapes)} parameters are frozen ({sizes[0]:,} of {sizes[1]:,} "
        "numbers)"
    )
    assert any(wanted in note for note in session.messages)


def test_freezing_works_without_another_training(settings, opened):
    plain = replace(
        settings, pretrained=None, network="resnet8", image_shape=(3, 28, 28), freeze="conv0"
    )
    changes = after_one_update(opened(plain))
    assert not changes["conv0_weight"].any() and changes["fc1_weight"].any()


def test_a_smaller_rate_for_pretrained_parameters(settings, opened):
    plain = replace(settings, mom=0.0, wd=0.0)
    whole = after_one_update(opened(plain))
    elsewhere = settings.model_prefix.replace("run", "other")
    small = after_one_update(
        opened(replace(plain, pretrained_lr_factor=0.125, model_prefix=elsewhere))
    )
    for name, change in whole.items():
        if "moving" in name or name == "bn_data_gamma":
            continue  # statistics follow the images, and that gamma is fixed, not the rate
        factor = 1.0 if name.startswith("fc1") else 0.125
        np.testing.assert_allclose(small[name], factor * change, rtol=2e-3, atol=2e-7)


# --- continued, rolled back ----------------------------------------------------------------------


def test_a_resumed_run_does_not_need_the_pretrained_files(fashion, tmp_path):
    words = ["--batch-size", 16, "--lr", 0.02, "--freeze", "conv0", "--pretrained-lr-factor", 0.5]
    shutil.copytree(fashion / "eight", tmp_path / "old")
    begin = ["--pretrained", f"{tmp_path}/old/model,3"]
    both = [*words, *begin, "--num-epochs", 2]
    assert train(fashion, "two", tmp_path / "straight" / "model", *both) == 0
    assert train(fashion, "two", tmp_path / "run" / "model", *words, *begin, "--num-epochs", 1) == 0
    shutil.rmtree(tmp_path / "old")
    assert train(fashion, "two", tmp_path / "run" / "model", *both) == 0
    ours, theirs = (
        params.read(tmp_path / name / "model-0002.params") for name in ("run", "straight")
    )
    assert_same(ours, theirs)


def test_rollback_to_the_pretrained_parameters(fashion, tmp_path, monkeypatch):
    real, rates = default_engine().train_batch, []

    def train_batch(self, images, labels, learning_rate, *more):
        if self._updates == 3 and learning_rate > 0.015:
            raise NonFiniteLossError(3)
        rates.append(learning_rate)
        real(self, images, labels, learning_rate, *more)

    begin = ["--pretrained", f"{fashion}/eight/model,3", "--num-epochs", 1, "--batch-size", 16]
    low, rolled = tmp_path / "low" / "model", tmp_path / "rolled" / "model"
    assert train(fashion, "two", low, *begin, "--lr", 0.01) == 0
    monkeypatch.setattr(default_engine(), "train_batch", train_batch)
    assert train(fashion, "two", rolled, *begin, "--lr", 0.02, "--on-nan", "rollback") == 0
    assert rates == [0.02] * 3 + [0.01] * 5
    ours, theirs = (params.read(f"{prefix}-0001.params") for prefix in (rolled, low))
    assert_same(ours, theirs)


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"epoch": 9}, "model-0009.params: no such checkpoint"),
        ({"num_layers": 14}, "has no stage1_unit2_bn1_gamma: "),
        ({"network": "squeezenet1.1", "image_shape": (3, 32, 32)}, "is not in --network squeeze"),
        ({"layer_before_fullc": "flaten0"}, "layer_before_fullc flaten0: no such layer; did you"),
        ({"load_epoch": 1}, "--pretrained and --load-epoch: "),
        ({"freeze": "fc2"}, "--freeze fc2: "),
        ({"freeze": ".*"}, "--freeze .*: "),
        (
            {"pretrained": None, "network": "resnet8", "pretrained_lr_factor": 0.1},
            "--pretrained-lr-factor 0.1: needs --pretrained",
        ),
        (
            {"pretrained": None, "network": "resnet8", "layer_before_fullc": "x"},
            "--layer-before-fullc x: needs --pretrained",
        ),
    ],
)
def test_refused_in_one_line(settings, opened, fashion, changed, expected):
    changed = dict({"image_shape": (3, 28, 28)}, **changed)
    if "epoch" in changed:
        changed["pretrained"] = (f"{fashion}/eight/model", changed.pop("epoch"))
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        opened(replace(settings, **changed))
    assert "\n" not in str(caught.value)
    assert not list(Path(settings.model_prefix).parent.glob("*.params"))


def test_parameters_of_another_shape_are_named(settings, opened, published):
    prefix, _ = published
    arrays = params.read(f"{prefix}-0000.params")
    arrays["arg:conv0_weight"] = arrays["arg:conv0_weight"][:, :2]
    Path(f"{prefix}-0000.params").write_bytes(params.dumps(arrays))
    expected = (
        r"resnet-8-0000.params: conv0_weight is \(16, 2, 3, 3\) where this network has \(16, 3"
    )
    with pytest.raises(InputError, match=expected):
        opened(replace(settings, pretrained=(prefix, 0), image_shape=(3, 28, 28)))


def test_images_that_the_network_cannot_take(settings, opened, tmp_path):
    net = mx.gluon.model_zoo.vision.squeezenet1_1(classes=10, prefix="net_")
    net.initialize()
    net.hybridize()
    net(mx.nd.ones((1, 3, 224, 224)))
    net.export(str(tmp_path / "squeezenet"), 0)
    small = replace(settings, pretrained=(str(tmp_path / "squeezenet"), 0), image_shape=(3, 28, 28))
    with pytest.raises(InputError, match=r"--image-shape 3,28,28: the network of .*squeezenet-0"):
        opened(small)


def test_without_a_symbol_the_network_has_to_be_named(settings, opened, published):
    prefix, _ = published
    Path(f"{prefix}-symbol.json").unlink()
    with pytest.raises(InputError, match=r"resnet-8-symbol.json; .*--network"):
        opened(replace(settings, pretrained=(prefix, 0), image_shape=(3, 28, 28)))


def test_a_run_cannot_be_its_own_pretrained_network(settings, opened, fashion):
    with pytest.raises(InputError, match="is the run itself"):
        opened(replace(settings, model_prefix=f"{fashion}/eight/model"))


@pytest.mark.parametrize("text", ["model", "model,x", ",3", "model,-1"])
def test_pretrained_needs_a_prefix_and_an_epoch(text, capsys):
    with pytest.raises(SystemExit):
        fit.main(["--pretrained", text])
    assert "must be PREFIX,EPOCH, such as" in capsys.readouterr().err


def test_freeze_must_be_a_regular_expression(capsys):
    with pytest.raises(SystemExit):
        fit.main(["--freeze", "stage[1"])
    assert "--freeze: 'stage[1': must be a regular expression: " in capsys.readouterr().err


def test_default_prefix():
    assert default_prefix("runs/resnet-18/model") == "runs/resnet-18-tuned/model"
    assert default_prefix("published/resnet-18") == "runs/resnet-18-tuned/model"
    assert default_prefix("resnet-50") == "runs/resnet-50-tuned/model"
    for ending in (".tar.gz", ".tgz"):
        assert default_prefix(f"jobs/seven/model{ending}") == "runs/seven-tuned/model"
