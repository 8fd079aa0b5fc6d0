"""Runs that continue from checkpoints which `fit` did not begin."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ENGINES, one_line_failure, words_of_fit
from helpers.fit_runs import history

from imagenet_trainer import evaluate, export, fit, symbols
from imagenet_trainer.engines.symbol import parameter_shapes
from imagenet_trainer.graph import sym
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run
from imagenet_trainer.train.initializers import initial_parameters

SHAPE, CLASSES = (3, 16, 16), 3


def write_pair(prefix, symbol, bgr=False):
    """A checkpoint of another program: symbol and parameters of epoch 0."""
    shapes = parameter_shapes(own_network(symbol_classes(symbol)), SHAPE)
    arg, aux = initial_parameters(*shapes, symbols.HE_NORMAL, 3)
    if bgr:
        arg["conv0_weight"] = np.ascontiguousarray(arg["conv0_weight"][:, ::-1])
    prefix.parent.mkdir(parents=True)
    Path(f"{prefix}-symbol.json").write_text(symbol.tojson())
    Path(f"{prefix}-0000.params").write_bytes(params.dumps(params.join(arg, aux)))
    return str(prefix)


def symbol_classes(symbol):
    return next(node.values["num_hidden"] for node in symbol.nodes if node.name == "out")


def logits_of(classes=CLASSES, data="data"):
    """A network that is in no list, without a softmax."""
    x = sym.Convolution(sym.Variable(data), kernel=(3, 3), num_filter=8, name="conv0")
    x = sym.Activation(x, act_type="relu")
    x = sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1))
    return sym.FullyConnected(sym.Flatten(x), num_hidden=classes, name="out")


def own_network(classes=CLASSES):
    return sym.SoftmaxOutput(logits_of(classes), name="softmax")


def words(packed, *more):
    """The small training without a network."""
    return [*words_to_resume(packed), "--load-epoch", "0", *more]


def words_to_resume(packed, *more):
    more = ["--rgb-std", "60,60,60", "--num-epochs", "1", "--tensorboard", "0", *more]
    return [*words_of_fit(packed)[4:], *more]


# --- the order of the channels --------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_of_blue_green_red_continues(packed, tmp_path, engine):
    rgb = write_pair(tmp_path / "rgb" / "net", own_network())
    bgr = write_pair(tmp_path / "bgr" / "net", own_network(), bgr=True)
    how = ["--engine", engine, "--mixup", "0.5", "--brightness", "0.4", "--lr", "0.01"]
    assert fit.main([*words(packed, *how), "--model-prefix", rgb]) == 0
    assert fit.main([*words(packed, *how), "--model-prefix", bgr, "--bgr"]) == 0
    ours, theirs = (params.read(f"{prefix}-0001.params") for prefix in (bgr, rgb))
    first = params.read(f"{rgb}-0000.params")
    for name, value in ours.items():
        wanted = theirs[name][:, ::-1] if "conv0_weight" in name else theirs[name]
        np.testing.assert_allclose(value, wanted, atol=2e-5, err_msg=name)
    assert np.abs(theirs["arg:out_weight"] - first["arg:out_weight"]).max() > 1e-3
    for name in ("train_loss", "val_loss"):
        one, other = (float(history(Path(p))[-1][name]) for p in (bgr, rgb))
        assert one == pytest.approx(other, rel=1e-4)


@pytest.fixture(scope="module")
def blue_first(packed, tmp_path_factory):
    """A run of one epoch with --bgr; nothing may be written into its folder."""
    prefix = write_pair(tmp_path_factory.mktemp("blue") / "net" / "net", own_network(), bgr=True)
    assert fit.main([*words(packed, "--bgr", "1"), "--model-prefix", prefix]) == 0
    return prefix


def copied(prefix, folder):
    shutil.copytree(Path(prefix).parent, folder)
    return str(folder / "net")


def test_the_order_travels_in_the_checkpoint(blue_first, packed, tmp_path):
    prefix = copied(blue_first, tmp_path / "run")
    assert Run(prefix).preprocessing(1).bgr
    data = ["--data-val", str(packed / "val.rec")]
    for more in ([], ["--bgr", "0"]):
        assert evaluate.main(["--model-prefix", prefix, "--epochs", "1", *data, *more]) == 0
    found = json.loads(Run(prefix).evaluation_path.read_text())
    trained = float(history(Path(prefix))[-1]["val_loss"])
    assert found["epochs"]["1"]["loss"] == pytest.approx(trained, rel=1e-5)
    # The other order has another name, and another result.
    other = found["sets"]["rgb"]["epochs"]["1"]["loss"]
    assert abs(other - trained) > 1e-4
    where = ["--output", str(tmp_path / "exported")]
    assert export.main(["--model-prefix", prefix, "--to", "mxnet", *where]) == 0
    card = json.loads((tmp_path / "exported-0001.json").read_text())
    assert "BGR" in card["input"]["pictures"]


def test_a_resumed_run_may_not_change_the_order(blue_first, packed, tmp_path, capsys):
    prefix = copied(blue_first, tmp_path / "run")
    refused = one_line_failure(fit.main, "fit", capsys)
    line = refused(*words_to_resume(packed, "--num-epochs", "2", "--model-prefix", prefix))
    assert "--bgr 0: " in line and "started with 1" in line


def test_fine_tuning_inherits_the_order(blue_first, packed, tmp_path):
    prefix = str(tmp_path / "tuned" / "net")
    flags = words_to_resume(packed, "--pretrained", f"{blue_first},1", "--model-prefix", prefix)
    assert fit.main(flags) == 0
    assert Run(prefix).preprocessing(1).bgr
    assert json.loads(Run(prefix).config_path.read_text())["settings"]["bgr"] is True


# --- the network of the checkpoint ----------------------------------------------------------------


@pytest.mark.parametrize("data", ["data", "photo"])
def test_the_symbol_in_the_folder_is_the_network(packed, tmp_path, data):
    prefix = write_pair(tmp_path / "old" / "net", logits_of(data=data))
    flags = words(packed, "--model-prefix", prefix)
    assert fit.main(flags) == 0
    names = {name[4:] for name in params.read(f"{prefix}-0001.params")}
    assert names == {"conv0_weight", "conv0_bias", "out_weight", "out_bias"}
    log = (tmp_path / "old" / "log.txt").read_text()
    assert "the network of" in log and "a softmax was added" in log
    # The same command continues, and so does one without --load-epoch.
    assert fit.main([*flags, "--num-epochs", "2"]) == 0
    flags = words_to_resume(packed, "--model-prefix", prefix, "--num-epochs", "3")
    assert fit.main(flags) == 0
    assert [row["epoch"] for row in history(Path(prefix))] == ["1", "2", "3"]


def test_a_named_network_wins(packed, tmp_path, capsys):
    prefix = write_pair(tmp_path / "old" / "net", own_network())
    refused = one_line_failure(fit.main, "fit", capsys)
    line = refused(*words(packed), "--network", "resnet8", "--model-prefix", prefix)
    assert "net-0000.params" in line


def test_a_missing_symbol_is_named(packed, tmp_path, capsys):
    prefix = write_pair(tmp_path / "old" / "net", own_network())
    (tmp_path / "old" / "net-symbol.json").unlink()
    refused = one_line_failure(fit.main, "fit", capsys)
    line = refused(*words(packed), "--model-prefix", prefix)
    assert "net-symbol.json" in line and "--network" in line
    line = refused(*words(packed), "--network", "resnet8", "--model-prefix", prefix)
    assert "net-symbol.json" not in line


def test_another_number_of_classes(packed, tmp_path, capsys):
    prefix = write_pair(tmp_path / "old" / "net", own_network(7))
    refused = one_line_failure(fit.main, "fit", capsys)
    line = refused(*words(packed), "--model-prefix", prefix)
    assert (
        "net-symbol.json: " in line and "7 classes" in line and f"--pretrained {prefix},0" in line
    )


@pytest.fixture
def published(tmp_path):
    """As `published` writes it: parameters, preprocessing, no config.json."""
    prefix = tmp_path / "published" / "net"
    symbol = own_network()
    prefix.parent.mkdir()
    arg, aux = initial_parameters(*parameter_shapes(symbol, SHAPE), symbols.HE_NORMAL, 3)
    run = Run(str(prefix))
    run.write_symbol(symbol.tojson())
    how = Preprocessing(SHAPE, (10.0, 20.0, 30.0), (2.0, 3.0, 4.0), 18, val_interp="pil-bicubic")
    run.save(Checkpoint(arg, aux, Progress(), {}, how), 0)
    return str(prefix)


def test_the_preprocessing_of_the_checkpoint_is_kept(published, packed, tmp_path):
    flags = words(packed, "--model-prefix", published)
    for epochs in ("1", "2"):
        assert fit.main([*flags, "--num-epochs", epochs]) == 0
    how = Run(published).preprocessing(2)
    assert (how.rgb_mean, how.val_resize) == ((10, 20, 30), 18)
    assert how.val_interp == "pil-bicubic"
    assert how.rgb_std == (60, 60, 60)  # a flag that is given wins
    log = (Path(published).parent / "log.txt").read_text()
    assert re.search(
        r"--load-epoch 0: .*--rgb-mean 10,20,30; --val-resize 18; --val-interp pil-bicubic", log
    )


def test_another_preprocessing_is_not_taken_silently(published, packed, capsys):
    refused = one_line_failure(fit.main, "fit", capsys)
    line = refused(*words_to_resume(packed, "--model-prefix", published))
    assert "--rgb-mean 10,20,30" in line and "--load-epoch 0" in line
    assert not (Path(published).parent / "config.json").exists()
