"""The search for a preprocessing, with a network that needs exactly one.

It compares the mean colour of an image with five colours, in the scale it was "trained" with.
"""

import re

import cv2
import numpy as np
import pytest
from conftest import write_records
from helpers.evaluated import refusal
from scipy.stats import binomtest

from imagenet_trainer import evaluate
from imagenet_trainer.data.augment import EvalTransform
from imagenet_trainer.data.records.recordio import pack_header
from imagenet_trainer.eval import find_preprocessing as search
from imagenet_trainer.graph import sym
from imagenet_trainer.runs import params
from imagenet_trainer.runs.checkpoint import Checkpoint, Preprocessing, Progress
from imagenet_trainer.runs.run import Run

COLOURS = np.array([[40, 40, 40], [120, 120, 120], [220, 220, 220], [200, 60, 60], [60, 60, 200]])
SHAPE, PER_CLASS = (3, 16, 16), 8


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    rng = np.random.default_rng(0)
    payloads = []
    for number in range(len(COLOURS) * PER_CLASS):
        label = number % len(COLOURS)
        image = np.clip(COLOURS[label] + rng.normal(0, 15, (20, 20, 3)), 0, 255).astype(np.uint8)
        data = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
        payloads.append(pack_header(float(label), number) + data)
    return str(write_records(tmp_path_factory.mktemp("colours") / "val.rec", payloads))


def save(prefix, needs, claims, order=slice(None)):
    """A network that needs a preprocessing; its checkpoint claims one, or None."""
    logits = sym.FullyConnected(
        sym.Flatten(sym.Pooling(sym.Variable("data"), global_pool=True, kernel=(1, 1),
                                pool_type="avg", name="pool")), num_hidden=5, name="fc",
    )  # fmt: skip
    run = Run(str(prefix))
    run.folder.mkdir()
    run.write_symbol(
        sym.SoftmaxOutput(logits, sym.Variable("softmax_label"), name="softmax").tojson()
    )
    centres = (COLOURS - needs.rgb_mean) / needs.rgb_std
    centres = centres[order, :: -1 if needs.bgr else 1] * 1.0
    gain = 20 / np.square(centres).sum(axis=1).max()
    arg = {
        "fc_weight": (2 * gain * centres).astype(np.float32),
        "fc_bias": (-gain * np.square(centres).sum(axis=1)).astype(np.float32),
    }
    run.save(Checkpoint(arg, {}, Progress(1, 1), {"updates": np.array(1)}, claims or needs), 1)
    if claims is None:
        run.state_path(1).unlink()
    return run


def test_parameters_of_another_network_are_one_line(shard, tmp_path, capsys):
    run = save(tmp_path / "run" / "model", how("0 to 1"), None)
    found = params.read(run.params_path(1))
    found["arg:fc_weight"] = found["arg:fc_weight"][:, :2]
    run.params_path(1).write_bytes(params.dumps(found))
    words = ["--data-val", shard, "--find-preprocessing", "--image-shape", "3,16,16"]
    assert "fc_weight is (5, 2)" in refusal(capsys, "--model-prefix", run.prefix, *words)


def how(name, bgr=False):
    return Preprocessing(SHAPE, *search.SCALES[name], 16, bgr)


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("name", ["-1 to 1", "0 to 255"])
def test_the_one_that_fits_is_found(shard, tmp_path, capsys, name, bgr):
    needs, wrong = how(name, bgr), how("0 to 1", not bgr)
    run = save(tmp_path / "run" / "model", needs, wrong)
    assert evaluate.main(["--model-prefix", run.prefix, "--data-val", shard]) == 0
    assert "--find-preprocessing" in capsys.readouterr().out  # at chance
    words = ["--model-prefix", run.prefix, "--data-val", shard, "--find-preprocessing"]
    assert evaluate.main(words) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("fits: "))
    flags = line[len("fits: ") :].split()
    found = dict(zip(flags[::2], flags[1::2]))
    # The flags make a plain evaluation right.
    assert evaluate.main(["--model-prefix", run.prefix, "--data-val", shard, *flags]) == 0
    assert "rank-1 100.00 %" in capsys.readouterr().out
    assert found["--bgr"] == str(int(bgr))  # the checkpoint claims the other
    assert found["--rgb-std"] == ",".join(f"{value:g}" for value in needs.rgb_std)


def test_a_checkpoint_that_knows_its_preprocessing_keeps_it(shard, tmp_path, capsys):
    run = save(tmp_path / "run" / "model", how("-1 to 1"), None)
    words = ["--model-prefix", run.prefix, "--data-val", shard, "--find-preprocessing"]
    assert evaluate.main([*words, "--image-shape", "3,16,16"]) == 0  # of another program
    assert "--rgb-std 127.5,127.5,127.5" in capsys.readouterr().out
    own = how("0 to 1, mean and deviation")
    run = save(tmp_path / "own" / "model", own, own)
    words[1] = run.prefix
    assert evaluate.main([*words, "--find-images", "7"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("7 of 40 images") and "these are the settings of the checkpoint" in out
    assert "not told apart" in out


def test_images_without_a_right_class_do_not_count(shard, tmp_path, capsys):
    """Also where a preprocessing has no finite probabilities."""
    run = save(tmp_path / "run" / "model", how("-1 to 1"), how("0 to 255"))
    checkpoint = run.load(1)
    checkpoint.arg["fc_weight"] *= 1e36  # which overflows for pixels above 100
    run.save(checkpoint, 1)
    (tmp_path / "labels.csv").write_text(
        "key,label\n" + "".join(f"{k},\n" for k in range(0, 40, 4))
    )
    words = ["--model-prefix", run.prefix, "--data-val", shard, "--find-preprocessing"]
    assert evaluate.main([*words, "--labels", str(tmp_path / "labels.csv")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("30 of 40 images") and "inf  p " in out
    best = next(line for line in out.splitlines() if "%" in line and "rank-1" not in line)
    share, low = (float(word) for word in re.findall(r"([\d.]+) (?:%|to)", best)[:2])
    wilson = binomtest(round(0.3 * share), 30).proportion_ci(method="wilson")
    assert low == pytest.approx(100 * wilson.low, abs=0.005)
    (tmp_path / "labels.csv").write_text("key,label\n" + "".join(f"{k},\n" for k in range(40)))
    assert evaluate.main([*words, "--labels", str(tmp_path / "labels.csv")]) == 2


def test_nothing_fits_a_network_that_knows_nothing(shard, tmp_path, capsys):
    run = save(tmp_path / "run" / "model", how("-1 to 1"), None, [0] * 5)
    words = ["--model-prefix", run.prefix, "--data-val", shard, "--find-preprocessing"]
    assert evaluate.main([*words, "--image-shape", "3,16,16"]) == 0
    out = capsys.readouterr().out
    assert "none fits: " in out and "--classes FILE" in out and "fits: --" not in out


def test_several_epochs_are_refused(shard, tmp_path, capsys):
    run = save(tmp_path / "run" / "model", how("-1 to 1"), how("-1 to 1"))
    run.save(run.load(1), 2)
    words = ["--model-prefix", run.prefix, "--data-val", shard, "--find-preprocessing"]
    assert evaluate.main([*words, "--epochs", "1-2"]) == 2
    assert "--find-preprocessing: " in capsys.readouterr().err


def test_no_size_is_tried_twice():
    """A short side of 0 is 256/224 of the crop, which is among the usual ones."""
    start = Preprocessing((3, 224, 224), *search.SCALES["0 to 1"], 0)
    sizes = [EvalTransform(one.image_shape, one.val_resize) for one in search.sizes(start)]
    pairs = [(one.size, one.short_side) for one in sizes]
    assert len(pairs) == len({*pairs}) == 3 + 6
